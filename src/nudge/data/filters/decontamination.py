"""Facts of validation and test in training text: found by their numbers, in any register and order.

n-gram decontamination (Brown et al. 2020, appendix C) compares runs of words. A fact can be said in other words and in
another order, but its three numbers stay: so the n-grams are those of the numbers that a text says, in any order.
"""

from collections.abc import Iterable

from nudge.data import numbers
from nudge.data.filters.context import Context, Reasons, Row

Fact = tuple[int, ...]
NUMBERS = 3  # left, right and answer


def judge(rows: list[Row], settings: None, context: Context) -> Reasons:
    """Drop documents that say the three numbers of a held-out fact one after the other."""
    held_out = facts(context.held_out)
    leaks = [stated(row["text"], held_out) for row in rows]
    return [f"says {', '.join(map(str, leak))} of a held-out fact" if leak else None for leak in leaks]


def facts(rows: Iterable[Row]) -> frozenset[Fact]:
    """Return the numbers of the facts that documents state, in ascending order: the same for all orders of a family."""
    stated = (row for row in rows if row["operation"] is not None)
    return frozenset(tuple(sorted((row["left"], row["right"], row["answer"]))) for row in stated)


def stated(text: str, held_out: frozenset[Fact]) -> Fact | None:
    """Return the numbers of the first held-out fact that a text says, or None."""
    said = numbers.found(text)
    for at in range(len(said) - NUMBERS + 1):
        fact = tuple(sorted(said[at : at + NUMBERS]))
        if fact in held_out:
            return fact
    return None
