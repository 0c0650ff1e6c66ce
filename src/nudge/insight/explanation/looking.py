"""Who looks at whom: each head's attention over one text, as numbers and as a line of text for each token."""

from dataclasses import dataclass

import torch

from nudge.model.internals import trace
from nudge.model.saved import Saved

# The share of a glance, in steps of a quarter from 5 % on; a token that can't be seen yet is a space.
SHADES = "·░▒▓█"
NAMED = 3  # most looked-at tokens that are named: more don't fit beside a context of 32


@dataclass(frozen=True)
class Head:
    """What one head of one layer looks at.

    Attributes:
        layer, head: which one, counted from 0.
        pattern: a row for each token that looks, with its share on each token; each row sums to 1.
    """

    layer: int
    head: int
    pattern: list[list[float]]


@torch.inference_mode()
def look(model: Saved, ids: list[int]) -> list[Head]:
    """Return the attention of each head over the tokens of a text."""
    patterns = trace(model.model, torch.tensor([ids])).pattern
    return [
        Head(layer, head, pattern_TT.tolist())
        for layer, pattern_1HTT in enumerate(patterns)
        for head, pattern_TT in enumerate(pattern_1HTT[0])
    ]


def shades(row: list[float], looker: int) -> str:
    """Draw one row of a pattern, a character for each token that the one at `looker` can see."""
    return "".join(SHADES[0] if share < 0.05 else SHADES[min(4, 1 + int(share * 4))] for share in row[: looker + 1])


def most_looked_at(row: list[float], tokens: list[str]) -> list[tuple[str, float]]:
    """Name the tokens that one token looks at most, with their shares, from 5 % on."""
    best = sorted(range(len(row)), key=lambda place: -row[place])[:NAMED]
    return [(tokens[place], row[place]) for place in best if row[place] >= 0.05]
