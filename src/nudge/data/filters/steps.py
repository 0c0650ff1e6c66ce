"""Held-out facts in the steps of worked documents: a product is worked out in sums, and a sum can be a held-out one.

Unlike the other filters this one knows arithmetic: 24 minus 8 shows the held-out 8 + 16 although 16 is not yet said.
"""

from collections.abc import Iterator

from nudge.data import arithmetic, numbers
from nudge.data.arithmetic import Fact
from nudge.data.filters.context import Context, Reasons, Row

OPERATIONS = {"plus": "plus", "minus": "minus", "times": "times", "divided": "divided by", "shared": "shared by"}


def judge(rows: list[Row], settings: None, context: Context) -> Reasons:
    """Drop documents that work with a fact of a held-out family, in their question or in a step."""
    held_out = frozenset(row["family"] for row in context.held_out if row["family"] is not None)
    shown = [[family for family in families(row["text"]) if family in held_out] for row in rows]
    return [f"shows {found[0]}, which is held out" if found else None for found in shown]


def families(text: str) -> list[str]:
    """Return the families of what a text adds, takes away, multiplies and divides, in order.

    What is shared and leaves a rest counts as the quotient without the rest.
    """
    found = []
    for operation, left, right in _worked_with(text.split()):
        if operation == "shared by":
            operation, left = "divided by", left - left % right if right else left
        answer = arithmetic.compute(operation, left, right)
        if answer is not None:
            found.append(Fact(operation, left, right, answer).family)
    return found


def _worked_with(words: list[str]) -> Iterator[tuple[str, int, int]]:
    """Yield each operation in a text that stands between two numbers, with them."""
    for place, word in enumerate(words):
        if word in OPERATIONS:
            operation = OPERATIONS[word]
            begin, end = place, place + len(operation.split())
            while begin and words[begin - 1] in numbers.NUMBER_WORDS:
                begin -= 1
            after = end
            while after < len(words) and words[after] in numbers.NUMBER_WORDS:
                after += 1
            left, right = numbers.parse(" ".join(words[begin:place])), numbers.parse(" ".join(words[end:after]))
            if left is not None and right is not None:
                yield operation, left, right
