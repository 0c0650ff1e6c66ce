"""Every kind of question has its row, counted right, whatever the length of its answer."""

from pathlib import Path

import pytest

from nudge.data import arithmetic, documents
from nudge.data.sources.facts import Phrasings
from nudge.evaluation import answers, distance
from nudge.evaluation.exact_match import answer_all
from nudge.model.saved import Saved
from tests.evaluation.fitting import fitted

Row = dict[str, object]


@pytest.fixture
def corpus(in_project: Path) -> list[Row]:
    return [
        row
        for split in documents.SPLITS
        for row in documents.read(in_project / f"corpus/curated/{split}.parquet").to_pylist()
    ]


@pytest.fixture
def beyond(in_project: Path) -> list[Row]:
    phrasings = Phrasings(in_project / "data/phrasings.yaml")
    return [row for operation in arithmetic.OPERATIONS for row in distance.beyond(operation, phrasings, 99)]


def fitted_on(rows: list[Row], steps: int, corpus: list[Row]) -> Saved:
    return fitted([str(row["text"]) for row in rows], steps, " ".join(str(row["text"]) for row in corpus))


def test_one_pass_counts_as_right_what_greedy_decoding_says(corpus: list[Row]) -> None:
    rows = corpus[::400]
    model = fitted_on(rows, 60, corpus)
    found = answers.score(model, rows)
    said = answer_all(model, rows)
    assert found.right_N.tolist() == [answer.right for answer in said]
    assert 0 < found.right_N.sum() < len(rows), "both outcomes must occur to compare them"
    for surprisal, answer in zip(found.surprisal_N, said, strict=True):
        if answer.right:
            assert -surprisal == pytest.approx(answer.log_probability, abs=1e-4)


def test_long_answers_are_not_cut_short(beyond: list[Row], corpus: list[Row]) -> None:
    # Answers of the corpus have four words at most, and a limit taken from them would make longer ones wrong.
    long = [row for row in beyond if len(str(row["text"]).removeprefix(str(row["prompt"])).split()) > 4][::700]
    assert len(long) > 5
    model = fitted_on(long, 250, corpus)
    assert answers.score(model, long).right_N.all()


def test_beyond_the_range_is_true_and_new(beyond: list[Row], corpus: list[Row]) -> None:
    known = {row["text"] for row in corpus}
    for row in beyond:
        assert row["text"] not in known
        assert row["answer"] == arithmetic.compute(str(row["operation"]), int(str(row["left"])), int(str(row["right"])))
    pairs = {(row["operation"], row["left"], row["right"]) for row in beyond}
    assert {("plus", 100, 0), ("plus", 3, 120), ("minus", 120, 120), ("times", 12, 12)} <= pairs
    assert ("divided by", 120, 60) in pairs
    assert {("plus", 121, 0), ("plus", 99, 99), ("times", 9, 11), ("times", 100, 1)}.isdisjoint(pairs)
    assert sum(row["operation"] == "plus" for row in beyond) == 121**2 - 100**2
    assert sum(row["operation"] == "times" for row in beyond) == 10_000 - 672


def test_what_can_not_be_said_is_not_asked(beyond: list[Row], corpus: list[Row]) -> None:
    # An unknown word has no token: the question would be another one. "thousand" is in no document.
    model = fitted_on(corpus[:10], 0, corpus)
    is_sayable = answers.sayable(model)
    sayable = list(filter(is_sayable, beyond))
    assert 0 < len(sayable) < len(beyond)
    assert max(int(str(row["answer"])) for row in sayable) < 1000
    assert {row["text"] for row in beyond if int(str(row["answer"])) < 1000} == {row["text"] for row in sayable}
    assert is_sayable({"text": "one " * 31}), "the end is only predicted, so it needs no place in the context"
    assert not is_sayable({"text": "one " * 32}), "with the begin it is longer than the context"


def test_every_kind_has_a_row_and_an_empty_one_its_reason(corpus: list[Row], beyond: list[Row]) -> None:
    rows = [*corpus[::500], *beyond[::3000]]
    origin = (["train", "test", "order", "validation"] * 10)[: len(corpus[::500])] + ["beyond"] * len(beyond[::3000])
    found = distance.table(answers.score(fitted_on(rows, 30, corpus), rows), origin)
    whole = {row["kind"]: row for row in found if row["operation"] == "all"}
    assert list(whole) == list(distance.KINDS), "from near to far"
    for kind, source in distance.KINDS.items():
        assert whole[kind]["count"] == origin.count(source)
        parts = [row for row in found if row["kind"] == kind and row["operation"] != "all"]
        assert sum(row["count"] for row in parts) == whole[kind]["count"]
        assert sum(row["right"] for row in parts) == whole[kind]["right"]
        assert (whole[kind]["share"] is None) == bool(whole[kind]["reason"]) == (origin.count(source) == 0)
    assert "data.hold_out.operands" in whole["unseen operand"]["reason"]
