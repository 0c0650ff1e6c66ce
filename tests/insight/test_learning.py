"""The record of learning says of every fact when it was known for good, and of the rare ones whether they come last."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from nudge.errors import UserError
from nudge.evaluation.exact_match import loss, score
from nudge.insight.learning import NEVER, SCHEMA, History, carries, facts, history, write
from nudge.insight.learning_order import summary
from nudge.model import snapshots
from tests.insight.conftest import Learned, learn
from tests.insight.test_questions import fact


@pytest.fixture(scope="module")
def past(little: Learned) -> History:
    return history(little.folder, little.splits)


def test_every_snapshot_is_scored_as_evaluate_would(little: Learned, past: History) -> None:
    # Questions are sorted by length for speed: rows must not come back in another order.
    said = summary(past)
    for place, (step, taken) in enumerate(snapshots.load_all(little.folder)):
        assert past.steps[place] == step
        if step not in (past.steps[0], past.steps[-2], past.steps[-1]):
            continue
        scores, answers = score(taken, little.splits["test"])
        right_B = past.right_SB[place][past.split_B == "test"]
        assert right_B.tolist() == [answer.right for answer in answers]
        (row,) = (row for row in said["loss"] if (row["step"], row["split"]) == (step, "test"))
        assert row["loss"] == pytest.approx(loss(taken, little.splits["test"]), rel=1e-4)
        for operation, expected in scores["by_operation"].items():
            kind = {"step": step, "split": "test", "operation": operation, "carries": None}
            (row,) = (row for row in said["exact_match"] if kind.items() <= row.items())
            assert row["exact_match"] == pytest.approx(expected["exact_match"])
            assert row["count"] == expected["count"]
    squares = [float(weight.detach().double().square().sum()) for weight in taken.model.parameters()]
    assert said["weight_norm"][-1] == pytest.approx(sum(squares) ** 0.5)


def test_every_fact_has_the_step_from_which_it_stays_right(little: Learned, past: History, tmp_path: Path) -> None:
    write(facts(past), tmp_path / "facts.parquet")
    table = pq.read_table(tmp_path / "facts.parquet")
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    assert len(rows) == sum(map(len, little.splits.values())) == len({tuple(row.values())[:3] for row in rows})
    learned, forgotten = 0, 0
    for row, right_S in zip(rows, past.right_SB.T, strict=True):
        if row["learned_at"] is None:
            assert not right_S[-1]
            continue
        place = past.steps.index(row["learned_at"])
        assert right_S[place:].all()
        assert place == 0 or not right_S[place - 1]
        learned += 1
        forgotten += bool(right_S[:place].any())
    assert 0.5 * len(rows) < learned < len(rows)
    assert forgotten, "no fact was right, then wrong, then right: the case that this test is about did not occur"


def test_learning_by_heart_reaches_no_unseen_fact(shuffled: Learned) -> None:
    said = summary(history(shuffled.folder, shuffled.splits))
    share = {row["split"]: row["learned"] / row["count"] for row in said["learning_time"] if row["operation"] == "all"}
    assert share["train"] > 0.5
    assert share["test"] < 0.15
    medians = {row["split"]: row["median"] for row in said["learning_time"] if row["operation"] == "all"}
    assert medians["test"] is None, "a median was made up for facts of which most are never learned"


def test_carrying() -> None:
    assert carries(fact("equals", 28, 2, 30)) is True
    assert carries(fact("equals", 28, 1, 29)) is False
    assert carries(fact("equals", 30, 1, 29, "minus")) is True
    assert carries(fact("equals", 31, 1, 30, "minus")) is False
    assert carries(fact("equals", 3, 4, 12, "times")) is None
    assert carries(fact("equals", 4, 5, 2) | {"stratum": "modular sum"}) is True
    assert carries(fact("equals", 1, 2, 3) | {"stratum": "modular sum"}) is False


@pytest.mark.parametrize("rare_last", [True, False])
def test_whether_the_rare_come_last(rare_last: bool) -> None:
    rng = np.random.default_rng(0)
    answers = np.concatenate([np.full(answer + 1, answer) for answer in range(30)])  # answer n occurs n + 1 times
    steps = list(range(31))
    late_B = 30 - answers if rare_last else rng.integers(0, 31, len(answers))
    right_SB = np.arange(31)[:, None] >= late_B
    right_SB[:, :5] = False  # never learned, and the rarest
    rows = [fact(f"{place} {answer} equals", place, 0, int(answer)) for place, answer in enumerate(answers)]
    nothing_SB = np.zeros(right_SB.shape, dtype=np.float32)
    split_B = np.full(len(rows), "train")
    past = History(steps, rows, split_B, right_SB, nothing_SB, nothing_SB, np.ones(len(rows), np.int64), [1.0] * 31)
    assert (past.learned_at[:5] == NEVER).all()
    (row,) = (row for row in summary(past)["rarity"] if row["operation"] == "all" and row["counted"] == "answer")
    if rare_last:
        assert row["high"] < -0.9
    else:
        assert row["low"] < 0 < row["high"] or abs(row["rank_correlation"]) < 0.15


def test_grokking_s_corpus_has_a_record_too(little_project: Path) -> None:
    # Its numbers are digits, one token each.
    modular = learn(
        little_project,
        "modular",
        "data=modular",
        "data.sources.modular.modulus=7",
        "trainer.max_steps=30",
        "callbacks.samples.prompts=[2 plus 3 equals]",
    )
    past = history(modular.folder, modular.splits)
    assert len(past.rows) == 49
    said = summary(past)
    assert {row["split"] for row in said["loss"]} == {"train", "validation", "test"}
    assert len(said["weight_norm"]) == len(past.steps) == len(snapshots.steps_of(modular.folder / snapshots.FOLDER))
    assert past.text_SB[-1].mean() < past.text_SB[0].mean()


def test_what_has_no_record_is_said_in_a_line(little: Learned, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no snapshots"):
        history(tmp_path, little.splits)
    with pytest.raises(UserError, match="no arithmetic facts"):
        history(little.folder, {"train": [{**little.splits["train"][0], "operation": None}]})
    assert torch.is_grad_enabled()
