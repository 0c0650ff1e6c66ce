"""What people prefer, as a score: the objective of `stage=reward`."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nudge.model import saved
from nudge.training import losses
from nudge.training.losses import Preference
from nudge.training.objective import Objective
from nudge.training.pairs import PairBatch


class Rewarding(Objective):
    """Train a reward model so that the chosen answer of a pair scores higher than the rejected (Bradley–Terry)."""

    @property
    def monitors(self) -> list[str]:
        """Name the metrics that validation logs."""
        return ["val/loss", "val/accuracy", "val/margin"]

    def export(self, checkpoint: Path, folder: Path) -> None:
        """Write a reward model's folder."""
        saved.save(saved.load_reward(checkpoint), folder)

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """Return this micro-batch's share of the mean surprisal at the choices of the whole optimiser step."""
        loss = self._compare(batch).loss_B.sum() / batch["pairs_in_step"]
        return self.share_of_step(loss, batch["tokens_in_step"], batch_idx)

    def on_validation_epoch_start(self) -> None:
        """Start counting: loss, pairs in the right order, margins, pairs."""
        self._sums = torch.zeros(4, dtype=torch.float64).to(self.trainer.strategy.root_device)

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Compare held-out pairs."""
        found = self._compare(batch)
        parts = [found.loss_B.sum(), (found.margin_B > 0).sum(), found.margin_B.sum(), torch.tensor(len(found.loss_B))]
        self._sums += torch.stack([part.to(self._sums) for part in parts])

    def on_validation_epoch_end(self) -> None:
        """Log means over all held-out pairs."""
        totals: Any = self.trainer.strategy.reduce(self._sums, reduce_op="sum")
        loss, right, margin, count = totals.tolist()
        self.log_validation({"val/loss": loss / count, "val/accuracy": right / count, "val/margin": margin / count})

    def _compare(self, batch: PairBatch) -> Preference:
        return losses.bradley_terry(
            self.model(batch["chosen"], batch["chosen_lengths"]),
            self.model(batch["rejected"], batch["rejected_lengths"]),
        )
