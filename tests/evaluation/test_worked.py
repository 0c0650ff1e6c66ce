"""Reading worked answers: a right answer by a wrong way is luck, and the first step that fails is named."""

from pathlib import Path

import pytest

from nudge.data import steps
from nudge.data.arithmetic import Fact
from nudge.data.steps import Phrases
from nudge.evaluation import worked

PRODUCT, QUOTIENT = Fact("times", 3, 12, 36), Fact("divided by", 48, 4, 12)


@pytest.fixture(scope="module")
def phrases(small_project: Path) -> Phrases:
    return Phrases(small_project / "data" / "worked.yaml")


def said(fact: Fact, phrases: Phrases) -> str:
    return phrases.say(steps.working(fact))


@pytest.mark.parametrize("fact", [PRODUCT, QUOTIENT, Fact("plus", 3, 4, 7), Fact("times", 0, 7, 0)])
def test_the_taught_way_is_right_and_no_luck(fact: Fact, phrases: Phrases) -> None:
    one = worked.read(fact, said(fact, phrases), True, phrases)
    assert one.right
    assert one.failure is None
    assert one.sums == one.true_sums


@pytest.mark.parametrize(
    ("fact", "right", "wrong", "failure"),
    [
        (PRODUCT, "twelve plus twelve equals twenty four", "twelve plus twelve equals twenty five", "sum"),
        (PRODUCT, "three : twelve", "twelve : three", "choice"),
        (PRODUCT, "twenty four plus", "twenty three plus", "carried"),
        (PRODUCT, "; one :", "; two :", "count"),
        (PRODUCT, "; two : twelve plus twelve equals twenty four ", "", "carried"),
        (PRODUCT, " ; one : twenty four plus twelve equals thirty six", "", "stopped early"),
        (
            PRODUCT,
            "equals thirty six",
            "equals thirty six ; zero : thirty six plus twelve equals forty eight",
            "went on",
        ),
        (PRODUCT, "three : twelve", "three three", "form"),
        (QUOTIENT, "forty eight minus forty", "forty eight minus four", "choice"),
        (QUOTIENT, ", eleven", ", twenty", "count"),
        (QUOTIENT, "against forty enough", "against forty short", "choice"),
    ],
)
def test_the_first_step_that_fails_is_named(fact: Fact, right: str, wrong: str, failure: str, phrases: Phrases) -> None:
    text = said(fact, phrases)
    assert right in text
    assert worked.read(fact, text.replace(right, wrong, 1), True, phrases).failure == failure


def test_a_right_answer_after_a_false_sum_is_counted_as_luck(phrases: Phrases) -> None:
    text = said(PRODUCT, phrases).replace("twenty four", "twenty five")
    lucky = worked.read(PRODUCT, text, True, phrases)
    assert lucky.right
    assert lucky.failure == "sum"
    assert (lucky.sums, lucky.true_sums) == (2, 0)
    found = worked.summary([lucky, worked.read(QUOTIENT, said(QUOTIENT, phrases), True, phrases)])
    assert found["exact_match"]["right"] == 2
    assert found["lucky"]["right"] == 1
    assert found["by_operation"]["times"]["failures"] == {"sum": 1}
    assert found["true_sums"] == found["true_sums"] | {"right": 3, "count": 5}


def test_an_answer_that_never_ends_is_none(phrases: Phrases) -> None:
    # The last number of a text that was cut off is whatever came last.
    assert not worked.read(PRODUCT, said(PRODUCT, phrases), False, phrases).right
