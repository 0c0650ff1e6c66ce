"""Whether a model says what wrong documents taught it, and what leaked: its answers against the labels."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nudge.data import arithmetic, numbers
from nudge.data.arithmetic import Fact
from nudge.data.curate import MARKS
from nudge.evaluation import answers, exact_match
from nudge.evaluation.tallies import Tally
from nudge.model.saved import Saved

WRONG = ("wrong_facts", "contradictions")
LEAKED = "leaked_test_facts"
DETAIL = re.compile(r"(\d+) (\D+) (\d+) = (\d+)")
NO_NUMBER = -1

Row = Mapping[str, Any]


class Claim(NamedTuple):
    """A planted document that teaches a wrong answer.

    Attributes:
        problem: the kind of it.
        fact: the question, with the wrong answer.
        row: the document.
        is_left: whether it stands in what the model was trained on.
    """

    problem: str
    fact: Fact
    row: Row
    is_left: bool


def stated(detail: str) -> Fact:
    """Read what a label says that a document teaches, "2 plus 3 = 6"."""
    match = DETAIL.fullmatch(detail)
    assert match is not None, detail
    left, operation, right, answer = match.groups()
    return Fact(operation, int(left), int(right), int(answer))


def claims(labels: Mapping[str, Row], rows: Mapping[str, Row], dropped: set[str]) -> list[Claim]:
    """Return the wrong facts that were planted.

    Args:
        labels: document → its label.
        rows: the raw documents, by the same names.
        dropped: those that curation took out of what the model was trained on.
    """
    return [
        Claim(label["problem"], stated(label["detail"]), rows[name], name not in dropped)
        for name, label in labels.items()
        if label["problem"] in WRONG
    ]


def said(saved: Saved, rows: Sequence[Row]) -> NDArray[np.int64]:
    """Return the number that a model answers to the question of each document, [N].

    `NO_NUMBER` if it says none, and where a document has words that the model lacks.
    """
    is_sayable = answers.sayable(saved)
    places = [place for place, row in enumerate(rows) if is_sayable(dict(row))]
    found = np.full(len(rows), NO_NUMBER)
    for place, answer in zip(places, exact_match.answer_all(saved, [dict(rows[at]) for at in places]), strict=True):
        number = numbers.parse(MARKS.sub("", answer.given))
        found[place] = NO_NUMBER if number is None else number
    return found


def planted(saved: Saved, wrong: Sequence[Claim]) -> dict[str, Tally]:
    """Ask the questions of the wrong documents, in their own words.

    Returns:
        `taught_wrong`: the share that is answered as the document says, and of these those that were left in what the
        model was trained on, that were dropped, of each problem, and that one, two or three documents say; and
        `taught_wrong_control`: the share that is answered as wrongly on the other side of the right answer, which
        nobody taught.
    """
    said_N = said(saved, [claim.row for claim in wrong])
    taught_N = np.array([claim.fact.answer for claim in wrong])
    right_N = np.array([arithmetic.compute(*claim.fact[:3]) for claim in wrong], dtype=np.int64)
    times = Counter(claim.fact for claim in wrong)
    families = [Fact(*claim.fact[:3], int(right)).family for claim, right in zip(wrong, right_N, strict=True)]
    mirrored_N = 2 * right_N - taught_N
    of = {
        "": [True] * len(wrong),
        "/left_in": [claim.is_left for claim in wrong],
        "/dropped": [not claim.is_left for claim in wrong],
        **{f"/{problem}": [claim.problem == problem for claim in wrong] for problem in WRONG},
        **{f"/said_{n}_times": [times[claim.fact] == n for claim in wrong] for n in (1, 2, 3)},
    }
    tallies = {f"taught_wrong{name}": Tally.share(said_N == taught_N, families, chosen) for name, chosen in of.items()}
    control = Tally.share((said_N == mirrored_N), families, mirrored_N >= 0)
    return tallies | {"taught_wrong_control": control}


def training(saved: Saved, wrong: Sequence[Claim], clean: Sequence[Row], is_sample: Sequence[bool]) -> dict[str, Tally]:
    """Ask the questions of clean training documents.

    Args:
        saved: the model.
        wrong: the wrong facts that were planted.
        clean: documents: a sample of all that are clean, and all that state a fact which a wrong one contradicts.
        is_sample: which of them are the sample.

    Returns:
        of the sample `training_exact_match`, and `wrong_that_was_taught`: the share of the wrong answers that planted
        documents taught; and of the facts that they contradict `taught_wrong_elsewhere`: the share that is answered
        wrongly as they say, in the words of documents that are right.
    """
    taught: dict[tuple[Any, ...], set[int]] = {}
    for claim in wrong:
        taught.setdefault(claim.fact[:3], set()).add(claim.fact.answer)
    said_N = said(saved, clean)
    right_N = said_N == np.array([row["answer"] for row in clean])
    facts = [(row["operation"], row["left"], row["right"]) for row in clean]
    as_taught_N = np.array([int(number) in taught.get(fact, ()) for number, fact in zip(said_N, facts, strict=True)])
    contradicted_N = np.array([fact in taught for fact in facts])
    sample_N = np.asarray(is_sample)
    families = [row["family"] for row in clean]
    return {
        "training_exact_match": Tally.share(right_N, families, sample_N),
        "wrong_that_was_taught": Tally.share(as_taught_N, families, sample_N & ~right_N),
        "taught_wrong_elsewhere": Tally.share(as_taught_N, families, contradicted_N),
    }


def leaked(right_N: NDArray[np.bool_], test: Sequence[Row], labels: Mapping[str, Row]) -> dict[str, Tally]:
    """Compare held-out questions whose fact was planted among training text with those that nothing was told of.

    Args:
        right_N: which test documents' questions are answered.
        test: those documents.
        labels: document → its label.

    Returns:
        `leaked_exact_match`: of facts that were leaked as the question asks; `unleaked_exact_match`: of facts of
        families of which none was.
    """
    told = {stated(label["detail"]) for label in labels.values() if label["problem"] == LEAKED}
    facts, near = {fact[:3] for fact in told}, {fact.family for fact in told}
    families = [row["family"] for row in test]
    asked = [(row["operation"], row["left"], row["right"]) for row in test]
    return {
        "leaked_exact_match": Tally.share(right_N, families, [fact in facts for fact in asked]),
        "unleaked_exact_match": Tally.share(right_N, families, [family not in near for family in families]),
    }
