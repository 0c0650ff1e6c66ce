"""A loss or gradient that is no number stops the run before it reaches the weights, and says where it broke."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from nudge.data import files
from nudge.errors import RunError
from nudge.model.decoder import part_of
from nudge.training.callbacks.gradients import norms
from nudge.training.objective import Objective
from nudge.training.tracking.run import MlflowRun

FILE = "not_finite.json"
SHOWN = 10  # documents of the batch that the message names


class Finite(Callback):
    """Look at each step's loss and gradients before the optimiser takes them.

    Backpropagation goes from the output to the embeddings: the weight whose gradient broke first is the last one, in
    the order of the network, that has a gradient without a number in it.

    Args:
        folder: the run's, for `not_finite.json`.
        run: takes that file as an artifact, and the loss as the last point of its curve.
    """

    def __init__(self, folder: Path, run: MlflowRun) -> None:
        self._folder, self._run = folder, run
        self._documents: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: Objective, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        """Note which documents this step sees."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._seen: list[Tensor] = []
        self._seen.append(batch["documents"])

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Objective, optimizer: Any) -> None:  # type: ignore[override]
        """Stop if anything is infinite or no number.

        Raises:
            RunError: it is.
        """
        named = [(name, weight) for name, weight in pl_module.model.named_parameters() if weight.grad is not None]
        scaled = trainer.precision == "16-mixed"  # there the scaler skips steps whose gradient is infinite
        found = norms(
            [pl_module.step_loss, *([] if scaled else [weight.grad for _, weight in named if weight.grad is not None])]
        )
        if bool(torch.isfinite(found).all()):
            return
        step, loss = trainer.global_step + 1, pl_module.step_loss.item()
        broken = [name for (name, _), norm in zip(named, found[1:].tolist(), strict=False) if not math.isfinite(norm)]
        first = broken[-1] if broken else None
        weights = [name for name, weight in named if not bool(torch.isfinite(weight).all())]
        documents = torch.cat([seen.flatten() for seen in self._seen])
        numbers = sorted(set(documents.tolist()) - {-1})
        for logger in trainer.loggers:
            logger.log_metrics({"train/loss": loss}, step=step)
        if trainer.is_global_zero:
            content = {
                "step": step,
                "loss": str(loss),
                "first_gradient": first,
                "gradients": broken,
                "weights": weights,
                "documents": numbers,
            }
            files.write_text(self._folder / FILE, json.dumps(content, indent=1) + "\n")
            self._run.log_file(self._folder / FILE)
        where = f"; the first gradient to break was {first} ({part_of(first)})" if first else ""
        raise RunError(
            f"step {step}: the loss is {loss}{where}; batch: documents {', '.join(map(str, numbers[:SHOWN]))}, … "
            f"(all in {self._folder / FILE}); a lower optimizer.lr or trainer.gradient_clip often helps"
        )
