"""What the facts of a source must say, so that curation can refuse what doesn't."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from nudge.data import arithmetic, numbers


class Known(NamedTuple):
    """The answer of a question, and the family of facts that it belongs to."""

    answer: int
    family: str


@dataclass(frozen=True)
class Truth:
    """What is right in a source.

    Attributes:
        known: (operation, left, right) → the answer and the family; None if the question has no answer.
        heard: the words of an answer → the number that they say; None if they say none.
    """

    known: Callable[[str, int, int], Known | None]
    heard: Callable[[str], int | None] = numbers.parse


def calculated(operation: str, left: int, right: int) -> Known | None:
    """Return what arithmetic says."""
    answer = arithmetic.compute(operation, left, right)
    return None if answer is None else Known(answer, arithmetic.Fact(operation, left, right, answer).family)


ARITHMETIC = Truth(calculated)
