"""Questions beyond the range: each in the one way that its group says, and none that was trained on."""

from pathlib import Path

import pytest

from nudge.data import numbers, steps
from nudge.data.steps import Phrases
from nudge.evaluation import beyond
from nudge.evaluation.beyond import LARGEST, TRAINED, Question


@pytest.fixture(scope="module")
def phrases(small_project: Path) -> Phrases:
    return Phrases(small_project / "data" / "worked.yaml")


@pytest.fixture(scope="module")
def groups(phrases: Phrases) -> dict[str, list[Question]]:
    asked = beyond.questions(phrases, frozenset())
    return {group: [one for one in asked if one.group == group] for group in beyond.GROUPS}


def largest(questions: list[Question]) -> int:
    """Return the largest number that is added to or taken away from, over all questions."""
    return max(step.left or 0 for one in questions for step in one.right if step.fact is not None)


def test_each_group_is_beyond_in_its_own_way(groups: dict[str, list[Question]]) -> None:
    assert all(len(asked) > 20 for asked in groups.values()), {group: len(asked) for group, asked in groups.items()}
    for one in (*groups["factors"], *groups["sums"], *groups["counts"]):
        assert TRAINED < one.answer <= LARGEST
    assert largest(groups["factors"]) <= TRAINED < largest(groups["sums"])
    assert all((one.right[0].count or 0) > steps.MOST_TIMES for one in groups["counts"])
    assert all((numbers.found(one.asked)[0]) > TRAINED for one in groups["dividends"])


def test_chains_are_as_long_as_they_say_and_stay_within_the_range(groups: dict[str, list[Question]]) -> None:
    # A model that counts the other factor would have a short chain; so the first step is written for it.
    for count in (9, 10, 11, 12, 13):
        for one in groups[f"chain {count}"]:
            assert len(one.right) == count - 1
            assert one.right[-1].answer == one.answer <= TRAINED
            _, addend, start = numbers.found(one.asked)
            assert one.answer == start + (count - 1) * addend
            assert one.written == f"; {numbers.words(count)} : {numbers.words(start)}"


def test_what_was_trained_on_is_not_asked(groups: dict[str, list[Question]], phrases: Phrases) -> None:
    trained = frozenset(one.asked for one in groups["chain 9"][:50])
    left = beyond.questions(phrases, trained)
    assert not trained & {one.asked for one in left}
