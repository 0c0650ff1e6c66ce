"""The two checkpoints of a run: `best.ckpt` by validation, `last.ckpt` by time."""

from pathlib import Path

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from nudge.config.schema import CheckpointConfig

BEST, LAST = "best", "last"


class Best(ModelCheckpoint):
    """Keep the best checkpoint, and of equally good ones the latest.

    A count of right answers is often the same twice, and the learning rate goes on falling: the later one has less
    noise in its weights.
    """

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Say whether to save: better than the best so far, or as good."""
        equal = current is not None and self.best_model_score is not None and bool(current == self.best_model_score)
        return equal or super().check_monitor_top_k(trainer, current)


def callbacks(config: CheckpointConfig, folder: Path) -> list[ModelCheckpoint]:
    """Return the callbacks that keep exactly these two files in `folder`."""
    best = Best(folder, BEST, monitor=config.monitor, mode=config.mode, save_top_k=1, enable_version_counter=False)
    last = ModelCheckpoint(
        folder, LAST, every_n_train_steps=config.every_n_steps, save_top_k=1, enable_version_counter=False
    )
    return [best, last]
