"""Progress where there is no terminal: a plain line every so many steps."""

import sys
import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class PlainProgress(Callback):
    """Print `step 50/1000  loss 1.41  val/exact_match 0.02  4 s, about 76 s left` to stderr, without control codes."""

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self._told = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._begin = time.perf_counter()
        self._first = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Print a line, if it is time for one."""
        step = trainer.global_step
        if step == self._told or (step % self.every_n_steps and step != trainer.max_steps):
            return
        self._told = step
        if not trainer.is_global_zero:
            return
        seconds = time.perf_counter() - self._begin
        left = seconds / (step - self._first) * (trainer.max_steps - step)
        shown = {
            key: trainer.callback_metrics[key]
            for key in ("val/loss", "val/exact_match")
            if key in trainer.callback_metrics
        }
        parts = [f"step {step}/{trainer.max_steps}", f"loss {pl_module.step_loss.item():.3f}"]  # type: ignore[operator, union-attr]
        parts += [f"{key} {value.item():.3f}" for key, value in shown.items()]
        print("  ".join([*parts, f"{seconds:.0f} s, about {left:.0f} s left"]), file=sys.stderr, flush=True)
