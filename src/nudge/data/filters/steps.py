"""Held-out facts in the steps of worked documents: a product is worked out in sums, and a sum can be a held-out one.

Unlike the other filters this one knows arithmetic: 24 minus 8 shows the held-out 8 + 16 although 16 is not yet said.
"""

from collections.abc import Iterator

from nudge import project
from nudge.data import arithmetic, numbers, steps
from nudge.data.arithmetic import Fact
from nudge.data.filters.context import Context, Reasons, Row
from nudge.data.steps import Phrases

OPERATIONS = {"plus": "plus", "minus": "minus", "times": "times", "divided": "divided by", "shared": "shared by"}
NO_FACT = dict.fromkeys(("operation", "left", "right", "answer"))


def cut(rows: list[Row], context: Context) -> list[Row]:
    """Cut documents before the first step that works with a fact of a held-out family, if one is left before it.

    Not those whose question shows one: they will go as a whole. What is cut gives no answer, so it states no fact.
    """
    held_out = _held_out(context)
    phrases = steps.phrases_of(context.config, project.root())
    return rows if phrases is None else [_cut(row, held_out, phrases) for row in rows]


def _cut(row: Row, held_out: frozenset[str], phrases: Phrases) -> Row:
    begin = said = row["prompt"]
    if begin is None or not held_out.isdisjoint(families(begin)):
        return row
    for part in phrases.parts(row["text"].removeprefix(begin)):
        if not held_out.isdisjoint(families(part)):
            return row if said == begin else row | {"text": said, "cut": True} | NO_FACT
        said = f"{said} {part}"
    return row


def judge(rows: list[Row], settings: None, context: Context) -> Reasons:
    """Drop documents that work with a fact of a held-out family, in their question or in a step."""
    held_out = _held_out(context)
    shown = [[family for family in families(row["text"]) if family in held_out] for row in rows]
    return [f"shows {found[0]}, which is held out" if found else None for found in shown]


def _held_out(context: Context) -> frozenset[str]:
    return frozenset(row["family"] for row in context.held_out if row["family"] is not None)


def families(text: str) -> list[str]:
    """Return the families of what a text adds, takes away, multiplies and divides, in order.

    What is shared counts as the quotient that it amounts to without its rest, if that takes more than one step.
    """
    found = []
    for operation, left, right in _worked_with(text.split()):
        if operation == "shared by":
            times = left // right if right else 0
            if times in (0, 1, steps.TENFOLD):  # one step: it shows what it says
                continue
            operation, left = "divided by", times * right
        answer = arithmetic.compute(operation, left, right)
        if answer is not None:
            found.append(Fact(operation, left, right, answer).family)
    return found


def _worked_with(words: list[str]) -> Iterator[tuple[str, int, int]]:
    """Yield each operation in a text that stands between two numbers, with them."""
    for place, word in enumerate(words):
        if word in OPERATIONS:
            operation = OPERATIONS[word]
            begin, after = place, place + len(operation.split())
            while begin and words[begin - 1] in numbers.NUMBER_WORDS:
                begin -= 1
            left, right = numbers.parse(" ".join(words[begin:place])), _number(words, after)
            if left is not None and right is not None:
                yield operation, left, right


def _number(words: list[str], first: int) -> int | None:
    """Return the number that begins at a word."""
    after = first
    while after < len(words) and words[after] in numbers.NUMBER_WORDS:
        after += 1
    return numbers.parse(" ".join(words[first:after]))
