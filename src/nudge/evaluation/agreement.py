"""How often raters say the same: the most that a model of their choices can be expected to get right."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from sklearn.metrics import cohen_kappa_score

from nudge.data.ratings import Choice, Rating
from nudge.evaluation.intervals import share

SIDES: list[Choice] = ["A", "B"]


def agreement(ratings: Sequence[Rating]) -> list[dict[str, Any]]:
    """Compare each two raters on the pairs that both rated; those who have none in common are left out.

    Returns:
        one row for each two: `one`, `other`; `count`, `right` (equal choices), `share`, `low`, `high` (Wilson); and
        `kappa`, agreement above what their habits of saying A or B would give by chance (Cohen 1960), None where both
        always said the same side.
    """
    choices: dict[str, dict[str, Choice]] = {}
    for rating in ratings:
        choices.setdefault(rating.rater, {})[rating.pair] = rating.choice
    rows = []
    for one, other in combinations(sorted(choices), 2):
        both = sorted(choices[one].keys() & choices[other].keys())
        if not both:
            continue
        first, second = ([choices[rater][pair] for pair in both] for rater in (one, other))
        equal = sum(a == b for a, b in zip(first, second, strict=True))
        varied = len({*first, *second}) > 1
        kappa = float(cohen_kappa_score(first, second, labels=SIDES)) if varied else None
        rows.append({"one": one, "other": other, **share(equal, len(both)), "kappa": kappa})
    return rows
