"""Keep the weights, and the blame of each layer and head, at steps that are evenly spaced on a logarithmic scale."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import Callback, Trainer
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from nudge.config.schema import SnapshotsConfig
from nudge.data.files import replacing
from nudge.model import blame, snapshots
from nudge.training.objective import Objective

BLAME_KEY = "blame"  # of a snapshot's metadata


class Snapshots(Callback):
    """Write `snapshots/step-<step>.safetensors` into a run's folder: the weights after that many optimiser steps.

    The file's metadata has the blame by part, layer and head of the gradient at these weights, which is that of the
    next step; in MLflow it stands at that step, as `blame/layer/<layer> <part>` and `blame/head/<layer>.<head>`. The
    last snapshot is of the end, where no gradient follows. A run that goes on with a greater `max_steps` keeps what it
    has, and adds the steps of the new, longer scale that are still to come.

    Args:
        config: how many, and how much they may take.
        folder: the run's.
        max_steps: length of the run.
    """

    def __init__(self, config: SnapshotsConfig, folder: Path, max_steps: int) -> None:
        self._config, self._folder, self._max_steps = config, folder / snapshots.FOLDER, max_steps
        self._steps: set[int] = set()

    def on_fit_start(self, trainer: Trainer, pl_module: Objective) -> None:  # type: ignore[override]
        """Choose the steps."""
        each = sum(weight.numel() * 4 for weight in pl_module.model.parameters())
        count = min(self._config.count, int(self._config.megabytes * 1e6 / each))
        self._steps = set(log_spaced(count, self._max_steps))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Objective, optimizer: Any) -> None:  # type: ignore[override]
        """Keep the weights before they are changed, with the blame that they have just got."""
        if trainer.global_step not in self._steps:
            return
        # Where weights are divided among devices, all processes take part in putting them together.
        gradients = {
            name: _whole(weight.grad) for name, weight in pl_module.model.named_parameters() if weight.grad is not None
        }
        config = pl_module.model.config
        shares = {
            "part": blame.by_part(gradients),
            "layer": blame.by_layer(gradients, config),
            "head": blame.by_head(gradients, config),
        }
        self._write(trainer, pl_module, shares)
        metrics = {f"blame/{by}/{name}": share for by in ("layer", "head") for name, share in shares[by].items()}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step + 1)

    def on_train_end(self, trainer: Trainer, pl_module: Objective) -> None:  # type: ignore[override]
        """Keep the weights that the run ends with."""
        if trainer.global_step == self._max_steps and self._max_steps in self._steps:
            self._write(trainer, pl_module, {})

    def _write(self, trainer: Trainer, module: Objective, shares: dict[str, blame.Shares]) -> None:
        weights = {name: _whole(weight).cpu() for name, weight in module.model.state_dict().items()}
        if not trainer.is_global_zero:
            return
        if module.model.config.tied:  # one matrix, stored once
            del weights["lm_head.weight"]
        self._folder.mkdir(exist_ok=True)
        with replacing(self._folder / snapshots.file_name(trainer.global_step)) as temporary:
            save_file(weights, temporary, metadata={BLAME_KEY: json.dumps(shares)})


def log_spaced(count: int, max_steps: int) -> list[int]:
    """Return about `count` steps from 0 to `max_steps`, those after 0 in equal ratios as far as whole numbers allow."""
    if count < 2:
        return [0][:count]
    wanted = min(count - 1, max_steps)
    steps: set[int] = set()
    points = wanted
    while len(steps) < wanted:  # small steps coincide when they are rounded
        steps = set(np.geomspace(1, max_steps, points).round().astype(int).tolist()) | {max_steps}
        points += 1
    return [0, *sorted(steps)]


def export(source: Path, target: Path) -> None:
    """Copy a run's snapshots to a model folder, with their blame as one table."""
    if not source.is_dir():
        return
    target.mkdir()
    rows = []
    for step in snapshots.steps_of(source):
        path = source / snapshots.file_name(step)
        with replacing(target / path.name) as temporary:
            shutil.copyfile(path, temporary)
        with safe_open(path, "pt") as file:
            kept = json.loads(file.metadata()[BLAME_KEY])
        rows += [
            {"step": step, "by": by, "name": name, "share": share}
            for by, shares in kept.items()
            for name, share in shares.items()
        ]
    with replacing(target / snapshots.BLAME) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("step", "by", "name", "share"), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _whole(weight: Tensor) -> Tensor:
    return (weight.full_tensor() if isinstance(weight, DTensor) else weight).detach()
