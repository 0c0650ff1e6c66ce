"""The tokenised corpus as Lightning takes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule

from nudge.config.schema import Config
from nudge.config.stages import LossOn
from nudge.data import files, mixing, tokenizer
from nudge.data.tokens import Tokens
from nudge.errors import UserError
from nudge.training.batches import HeldOutBatches, ShuffledBatches, loader

# Documents in one forward pass without gradients: large enough to be fast, small enough for any memory.
HELD_OUT_BATCH = 512


@dataclass(frozen=True)
class CountedSplit:
    """A split whose questions are counted at each validation.

    Attributes:
        name: what its metrics begin with: "val" or "train".
        tokens: its documents.
        operations: which of them belong to which operation; empty for a corpus that isn't arithmetic.
    """

    name: str
    tokens: Tokens
    operations: dict[str, NDArray[np.int64]]

    @property
    def sources(self) -> dict[str, NDArray[np.int64]]:
        """Return which documents came from which source; empty if there is but one."""
        names = self.tokens.source_names
        return (
            {name: np.flatnonzero(self.tokens.sources == code) for code, name in enumerate(names)} if names[1:] else {}
        )


class Corpus(LightningDataModule):
    """Training and validation documents from `corpus/`, mapped into memory.

    Args:
        config: the run.
        corpus: the folder that the data stages wrote.
        loss_on: which tokens are targets.

    Raises:
        UserError: the tokens are missing, damaged, or longer than the model's context.
    """

    def __init__(self, config: Config, corpus: Path, loss_on: LossOn) -> None:
        super().__init__()
        self._loss_on = loss_on
        files.check_seal(corpus / "tokens", "tokenize")
        self._config = config
        self.curated = corpus / "curated"
        self.tokenizer = tokenizer.load(corpus / "tokens" / "tokenizer.json")
        self.train = Tokens.open(corpus / "tokens" / "train")
        self.validation = Tokens.open(corpus / "tokens" / "validation")
        for name, split in (("train", self.train), ("validation", self.validation)):
            if len(split) == 0:
                raise UserError(f"{corpus / 'tokens' / name}: no documents; nothing to train on or to choose by")
            if (longest := int(split.lengths.max())) - 1 > config.model.context:
                raise UserError(
                    f"model.context={config.model.context}: {name} has a document of {longest} tokens; "
                    f"model.context={longest - 1} would do"
                )
        mixture = config.data.mixture
        self.documents = (
            np.arange(len(self.train)) if mixture is None else mixing.plan(self.train, mixture, config.data.seed)
        )
        self.scored = [CountedSplit("val", self.validation, _operations(corpus / "curated" / "validation.parquet"))]
        if config.trainer.score_training:
            self.scored.append(CountedSplit("train", self.train, _operations(corpus / "curated" / "train.parquet")))

    def train_on(self, tokens: Tokens) -> None:
        """Train on other documents than the corpus's, each once an epoch."""
        if (longest := int(tokens.lengths.max())) - 1 > self._config.model.context:
            raise UserError(f"stage.examples: one has {longest} tokens; model.context={self._config.model.context}")
        self.train, self.documents = tokens, np.arange(len(tokens))

    def _place(self) -> dict[str, Any]:
        trainer = self.trainer
        return {"rank": trainer.global_rank, "world_size": trainer.world_size} if trainer else {}

    def train_dataloader(self) -> Any:
        """Return endless shuffled batches."""
        settings = self._config.trainer
        batches = ShuffledBatches(
            self.train,
            self._config.model.context,
            settings.batch_size,
            settings.accumulate,
            self._config.seed,
            **self._place(),
            first_step=self.trainer.global_step if self.trainer else 0,
            loss_on=self._loss_on,
            documents=self.documents,
        )
        return loader(batches, settings.num_workers, settings.accelerator == "gpu")

    def val_dataloader(self) -> Any:
        """Return each document of each split that is scored once."""
        context, loss_on = self._config.model.context, self._loss_on
        return [
            loader(
                HeldOutBatches(split.tokens, context, HELD_OUT_BATCH, **self._place(), loss_on=loss_on),
                0,
                self._config.trainer.accelerator == "gpu",
            )
            for split in self.scored
        ]


def _operations(path: Path) -> dict[str, NDArray[np.int64]]:
    """Return which documents of a file belong to which operation."""
    column = np.array(pq.read_table(path, columns=["operation"])["operation"].to_pylist(), dtype=object)
    return {name: np.flatnonzero(column == name) for name in sorted({name for name in column if name is not None})}
