"""A run that was cut short and continued is, bit for bit, the run that never stopped."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from nudge.config.schema import Config
from nudge.training.tracking import record, store
from nudge.training.tracking.journal import entries
from nudge.training.train import train

Make = Callable[..., Config]


class Cut(Exception):  # noqa: N818
    """What ends a run in these tests."""


class CutAt(pl.Callback):
    """Raise when a micro-batch has been computed, as a power cut might."""

    def __init__(self, micro_batch: int) -> None:
        self.micro_batch = micro_batch

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx + 1 == self.micro_batch:
            raise Cut


class Batches(pl.Callback):
    """Note which documents each optimiser step saw."""

    def __init__(self) -> None:
        self.seen: dict[int, list[int]] = {}

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        step = batch_idx // trainer.accumulate_grad_batches + 1
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.seen[step] = []
        self.seen[step] += batch["documents"].unique().tolist()


def history(folder: Path) -> dict[tuple[str, int], float]:
    """Return all points of a run's journal but speeds; fail if one is told twice."""
    points: dict[tuple[str, int], float] = {}
    for entry, _ in entries(folder / "journal.jsonl"):
        for key, value in entry.get("metrics", {}).items():
            if not key.startswith("throughput/"):
                assert (key, entry["step"]) not in points, f"{key} is told twice at step {entry['step']}"
                points[key, entry["step"]] = value
    return points


def checkpoint(config: Config, name: str = "last") -> dict[str, Any]:
    content: dict[str, Any] = torch.load(Path(config.run_dir) / f"checkpoints/{name}.ckpt", weights_only=True)
    return content


def assert_equal(one: Any, two: Any, where: str = "") -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            assert_equal(one[key], two[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), where
        for number, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_equal(a, b, f"{where}/{number}")
    else:
        assert one == two or (isinstance(one, float) and math.isnan(one)), f"{where}: {one} != {two}"


def assert_same_run(one: Config, two: Config) -> None:
    """Compare everything that two runs computed: curves, both checkpoints to the last bit, and exported files."""
    assert history(Path(one.run_dir)) == history(Path(two.run_dir))
    for name in ("last", "best"):
        first, second = checkpoint(one, name), checkpoint(two, name)
        for content in (first, second):
            for key in ("run_dir", "export_dir"):
                content["hyper_parameters"]["config"].pop(key)
        assert_equal(first, second, name)
    for path in sorted(Path(one.export_dir).rglob("*")):
        if path.is_file():
            other = Path(two.export_dir) / path.relative_to(one.export_dir)
            assert path.read_bytes() == other.read_bytes(), path.name


@pytest.mark.parametrize(
    ("overrides", "cut"),
    [
        ((), 1),  # before the first checkpoint
        ((), 4),  # in a step that is validated afterwards
        ((), 5),  # just after a validation: the checkpoint was taken in its hooks
        ((), 7),
        ((), 8),  # in the last step
        (("trainer.accumulate=4",), 4 * 5 + 2),  # in the midst of a step
        (("trainer.num_workers=2",), 6),
        (("optimizer=adamw", "schedule=cosine"), 6),
        (("optimizer=sgd", "callbacks.checkpoint.monitor=val/loss", "callbacks.checkpoint.mode=min"), 6),
    ],
)
def test_a_run_cut_short_and_continued_is_the_run_that_never_stopped(
    tiny: Make, overrides: tuple[str, ...], cut: int
) -> None:
    common = ("model.dropout=0.1", "callbacks.checkpoint.every_n_steps=2", *overrides)
    whole, parts = tiny(*common), tiny(*common)
    batches, after = Batches(), Batches()
    train(whole, [batches])
    with pytest.raises(Cut):
        train(parts, [CutAt(cut)])
    first = record.read(Path(parts.run_dir))
    assert first is not None
    assert first.status == "FAILED"
    train(parts, [after])
    assert_same_run(whole, parts)
    assert after.seen.items() <= batches.seen.items(), "a step saw other documents"
    found = record.read(Path(parts.run_dir))
    assert found is not None
    assert found.run_id == first.run_id, "continued in another MLflow run"
    assert found.resumed == [first.step]
    run = store.client().get_run(found.run_id)
    assert run.info.status == "FINISHED"
    assert "ended.reason" not in run.data.tags
    losses = store.client().get_metric_history(found.run_id, "train/loss")
    assert [point.step for point in losses] == list(range(1, 9)), "the history has a gap or a step twice"


def test_a_run_cut_many_times_is_still_the_same(tiny: Make) -> None:
    common = ("model.dropout=0.1", "callbacks.checkpoint.every_n_steps=1")
    whole, parts = tiny(*common), tiny(*common)
    train(whole)
    for cut in (2, 3, 5, 5, 8):
        with pytest.raises(Cut):
            train(parts, [CutAt(cut)])
    train(parts)
    assert_same_run(whole, parts)
