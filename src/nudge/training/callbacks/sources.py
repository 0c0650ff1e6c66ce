"""How much of each source a run has seen: documents, tokens, and how often it has been through all of them."""

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer

from nudge.config.schema import Config
from nudge.data.tokens import Tokens
from nudge.training.batches import Order


class Sources(Callback):
    """Log `data/documents/<source>`, `data/tokens/<source>` and `data/repeats/<source>` at each validation.

    Which documents a step sees is a function of seed and step, so nothing has to be counted on the way. A repeat is a
    source's whole size: 2.5 means that its documents were seen two and a half times on average.

    Args:
        tokens: the training split.
        documents: which of them an epoch holds.
        config: the run.
    """

    def __init__(self, tokens: Tokens, documents: NDArray[np.int64], config: Config) -> None:
        self._tokens = tokens
        self._order = Order(documents, config.trainer.batch_size, config.seed)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what the steps so far have seen."""
        seen = self._order.seen(trainer.global_step)
        seen_N = np.pad(seen, (0, len(self._tokens) - len(seen)))
        metrics: dict[str, float] = {}
        for code, name in enumerate(self._tokens.source_names):
            own = self._tokens.sources == code
            metrics[f"data/documents/{name}"] = int(seen_N[own].sum())
            metrics[f"data/tokens/{name}"] = int((seen_N * self._tokens.lengths)[own].sum())
            metrics[f"data/repeats/{name}"] = float(seen_N[own].mean())
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)
