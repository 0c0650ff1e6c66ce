"""What a run on a mixture says of its sources: what it saw, counted over its batches, and the loss of each."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl

from nudge.data import corpora
from nudge.data.tokens import Tokens
from nudge.training.train import train
from tests.chain import configured


class Seen(pl.Callback):
    """Count the documents of each batch."""

    def __init__(self) -> None:
        self.count: Counter[int] = Counter()
        self.tokens = 0

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        # A document that stands twice in a step stands there with two first positions.
        first = batch["documents"][(batch["positions"] == 1) & (batch["documents"] >= 0)]
        self.count.update(first.tolist())


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("trainer.accumulate=4",),
        # The whole of a small pass, more than twice: code is seen often, the others hardly.
        (
            "data.mixture.tokens=6000",
            "data.mixture.weights={encyclopedia: 1, book: 1, code: 20, conversation: 1, paper: 1, web: 1}",
        ),
        ("data.mixture=null",),
    ],
)
def test_what_was_seen_of_each_source_is_what_the_batches_held(
    in_chain: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    config = configured("base", f"run_dir={tmp_path}/run", f"export_dir={tmp_path}/run/model", *more)
    seen = Seen()
    train(config, [seen])
    assert seen.count.total() == 12 * 128

    tokens = Tokens.open(corpora.prepare(config.data, config.tokenizer) / "tokens/train")
    with (tmp_path / "run/model/curves/validation.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("data/documents/code")]
    assert [int(row["step"]) for row in rows] == [0, 6, 12]
    first, last = rows[0], rows[-1]
    for code, name in enumerate(tokens.source_names):
        own = {place: times for place, times in seen.count.items() if tokens.sources[place] == code}
        assert float(first[f"data/documents/{name}"]) == 0
        assert float(last[f"data/documents/{name}"]) == sum(own.values())
        assert float(last[f"data/tokens/{name}"]) == sum(
            int(tokens.lengths[place]) * times for place, times in own.items()
        )
        assert float(last[f"data/repeats/{name}"]) == pytest.approx(
            sum(own.values()) / int((tokens.sources == code).sum())
        )


def test_the_losses_of_the_sources_average_to_the_loss(in_chain: Path) -> None:
    tokens = Tokens.open(in_chain / "corpus/mixture/tokens/validation")
    targets_N = np.array([int((tokens.lengths - 1)[tokens.sources == code].sum()) for code in range(6)])
    with (in_chain / "models/base/curves/validation.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/loss"]]
    assert len(rows) == 3
    for row in rows:
        losses_N = np.array([float(row[f"val/loss/{name}"]) for name in tokens.source_names])
        assert (losses_N * targets_N).sum() / targets_N.sum() == pytest.approx(float(row["val/loss"]), rel=1e-5)
    assert len(set(losses_N.tolist())) == 6
