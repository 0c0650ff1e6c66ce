"""The two checkpoints of a run, `best.ckpt` by validation and `last.ckpt` by time: written whole, read with suspicion.

A checkpoint is taken when everything about an optimiser step is done, its validation included, and says so: whoever
continues from it begins with the next step.
"""

import io
import math
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from nudge.config.schema import CheckpointConfig
from nudge.data import files
from nudge.errors import UserError
from nudge.training import random_states
from nudge.training.stopping import Stopping
from nudge.training.tracking.run import MlflowRun

BEST, LAST = "best", "last"


class WholeFiles(TorchCheckpointIO):  # type: ignore[misc]
    """Write a checkpoint under a temporary name, and rename it when the disk has it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write, or leave what is there as it is."""
        buffer = io.BytesIO()  # a full disk then fails in `write`, with the system's own words
        torch.save(checkpoint, buffer)
        with files.replacing(Path(path)) as temporary, temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        """Read to the CPU: each process then moves its own part to its own device."""
        return load(Path(path))


class Checkpoints(Checkpoint):
    """Save `best.ckpt` and `last.ckpt`, and stop where a signal asks for it.

    Of equally good checkpoints the latest is the best: a count of right answers is often the same twice, and the
    learning rate goes on falling, so the later one has less noise in its weights. NaN is never the best.

    Args:
        config: when to save, and what "best" means.
        folder: the run's.
        val_every_n_steps: optimiser steps between two validations.
        stopping: the signals.
        run: notes what is saved.
    """

    def __init__(
        self, config: CheckpointConfig, folder: Path, val_every_n_steps: int, stopping: Stopping, run: MlflowRun
    ) -> None:
        self._config, self._folder, self._val_every_n_steps = config, folder / "checkpoints", val_every_n_steps
        self._stopping, self._run = stopping, run
        self._sign = 1 if config.mode == "max" else -1
        self._best: float | None = None
        self._random_states: list[random_states.States] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to signals from now on; let each rank draw its own random numbers, the first as if it were alone."""
        self._stopping.begin(trainer)
        if trainer.global_rank and self._random_states is None:
            random_states.shift(trainer.global_rank)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave signals to what comes after."""
        self._stopping.end()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Before the first step of a continued run: draw the random numbers that would have come next."""
        if self._random_states is not None:
            if trainer.global_rank < len(self._random_states):
                random_states.restore(self._random_states[trainer.global_rank])
            self._random_states = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the step, unless it is to be validated first, or only a part of it is done."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and trainer.global_step % self._val_every_n_steps:
            self._end_step(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the best so far, and end the step."""
        if trainer.state.fn != "fit":
            return
        score = float(trainer.callback_metrics[self._config.monitor])
        if math.isfinite(score) and (self._best is None or self._sign * score >= self._sign * self._best):
            self._best = score
            self._save(trainer, BEST)
        self._end_step(trainer)

    def _end_step(self, trainer: Trainer) -> None:
        stop = self._stopping.agreed(trainer)
        if stop or trainer.global_step % self._config.every_n_steps == 0 or trainer.global_step == trainer.max_steps:
            self._save(trainer, LAST)
        if stop:
            self._stopping.stop(trainer.global_step)

    def _save(self, trainer: Trainer, name: str) -> None:
        self._run.save()  # a step that a checkpoint holds must not be missing in the history
        trainer.save_checkpoint(self._folder / f"{name}.ckpt")
        if trainer.is_global_zero:
            self._run.note(step=trainer.global_step, score=self._best)

    def state_dict(self) -> dict[str, Any]:
        """Return the best score, and of what it is."""
        return {"best": self._best, "monitor": self._config.monitor, "mode": self._config.mode}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best score, if it is of the same metric and the checkpoint that has it is here."""
        same = (state_dict["monitor"], state_dict["mode"]) == (self._config.monitor, self._config.mode)
        self._best = state_dict["best"] if same and is_whole(self._folder / f"{BEST}.ckpt") else None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the random states of all ranks, and say that the step is complete.

        Lightning notes that it is in the midst of the hooks of this step, and would run some of them again.
        """
        checkpoint["random_states"] = random_states.of_all_ranks(trainer)
        loop = checkpoint["loops"]["fit_loop"]
        checkpoint["loops"] = {"fit_loop": loop}
        batches = trainer.global_step * trainer.accumulate_grad_batches
        progress = loop["epoch_loop.batch_progress"]
        for part in ("total", "current"):
            progress[part] = dict.fromkeys(progress[part], batches)
        progress["is_last_batch"] = False
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] = trainer.global_step
        loop["epoch_loop.val_loop.batch_progress"] = {
            key: dict.fromkeys(value, 0) if isinstance(value, dict) else value
            for key, value in loop["epoch_loop.val_loop.batch_progress"].items()
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the random states until the first step: setting up the loaders draws numbers too."""
        self._random_states = checkpoint["random_states"]


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint's plain values to the CPU."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def check(path: Path) -> None:
    """Read a checkpoint from end to end, its checksums included.

    Raises:
        UserError: it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (broken := archive.testzip()) is not None:
                raise UserError(f"{path}: damaged checkpoint (checksum of {broken} is wrong); take another")
        if "hyper_parameters" not in load(path):
            raise UserError(f"{path}: not a checkpoint of nudge; take another")
    except UserError:
        raise
    except Exception as error:  # torch and zipfile raise anything from EOFError to UnpicklingError
        raise UserError(f"{path}: damaged checkpoint ({str(error).splitlines()[0]}); take another") from error


def is_whole(path: Path) -> bool:
    """Say whether a checkpoint is there and can be read."""
    try:
        check(path)
    except UserError:
        return False
    return True


def newest(folder: Path) -> Path | None:
    """Return the checkpoint of the latest step that can be read; say which ones can't."""
    steps: dict[int, Path] = {}
    for path in (folder / f"{BEST}.ckpt", folder / f"{LAST}.ckpt"):
        if path.exists():
            try:
                check(path)
            except UserError as error:
                print(f"{str(error).removesuffix('; take another')}; passed over", file=sys.stderr)
            else:
                steps[load(path)["global_step"]] = path
    return steps[max(steps)] if steps else None
