"""Which part of the network the loss blames, and how far each step moves it."""

from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from nudge.model.decoder import PARTS, part_of
from nudge.training.pretraining import Pretraining


class Gradients(Callback):
    """Log gradient norms, blame and update ratios by part, once per optimiser step.

    `grad/norm` and `grad/norm/<part>` are L2 norms of the unscaled gradient before clipping, `grad/norm_clipped`
    after. `blame/<part>` is the part's share of the squared norm. `update_ratio/<part>` is the norm of the step over
    the norm of the weights before it.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self._weights: dict[str, list[nn.Parameter]] = {}
        self._before: dict[str, list[Tensor]] | None = None
        self._norms: list[Tensor] = []

    def on_fit_start(self, trainer: Trainer, pl_module: Pretraining) -> None:  # type: ignore[override]
        """Sort the weights by part."""
        self._weights = {part: [] for part in PARTS}
        for name, weight in pl_module.model.named_parameters():
            self._weights[part_of(name)].append(weight)
        self._weights = {part: weights for part, weights in self._weights.items() if weights}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Pretraining, optimizer: Any) -> None:  # type: ignore[override]
        """Measure the gradient that backpropagation left, and keep the weights."""
        if (trainer.global_step + 1) % self.every_n_steps:
            return
        parts = self._weights.values()
        self._norms = [get_total_norm([w.grad for w in weights if w.grad is not None]) for weights in parts]
        self._before = {part: [w.detach().clone() for w in weights] for part, weights in self._weights.items()}

    def on_train_batch_end(self, trainer: Trainer, pl_module: Pretraining, *_: Any) -> None:  # type: ignore[override]
        """Measure the step that was taken, and log."""
        if self._before is None:
            return
        ratios = []
        for part, weights in self._weights.items():
            before = self._before[part]
            moved = get_total_norm([now.detach() - then for now, then in zip(weights, before, strict=True)])
            ratios.append(moved / get_total_norm(before))
        self._before = None
        # One transfer from the device for all values.
        *values, clipped = torch.stack([*self._norms, *ratios, pl_module.clipped_norm]).tolist()
        norms, ratios_ = values[: len(self._weights)], values[len(self._weights) :]
        squared = sum(norm * norm for norm in norms)
        metrics = {"grad/norm": squared**0.5, "grad/norm_clipped": clipped}
        for part, norm, ratio in zip(self._weights, norms, ratios_, strict=True):
            metrics[f"grad/norm/{part}"] = norm
            metrics[f"blame/{part}"] = norm * norm / squared if squared else 0.0
            metrics[f"update_ratio/{part}"] = ratio
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)
