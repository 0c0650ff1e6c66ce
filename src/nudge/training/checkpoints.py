"""The two checkpoints of a run: `best.ckpt` by validation, `last.ckpt` by time."""

from pathlib import Path

from pytorch_lightning.callbacks import ModelCheckpoint

from nudge.config.schema import CheckpointConfig

BEST, LAST = "best", "last"


def callbacks(config: CheckpointConfig, folder: Path) -> list[ModelCheckpoint]:
    """Return the callbacks that keep exactly these two files in `folder`."""
    best = ModelCheckpoint(
        folder, BEST, monitor=config.monitor, mode=config.mode, save_top_k=1, enable_version_counter=False
    )
    last = ModelCheckpoint(
        folder, LAST, every_n_train_steps=config.every_n_steps, save_top_k=1, enable_version_counter=False
    )
    return [best, last]
