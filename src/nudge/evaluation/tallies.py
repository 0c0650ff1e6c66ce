"""Figures that several runs have over many questions: a share or mean, with an interval that draws both again."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nudge.evaluation import intervals

RESAMPLES = 2000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """What one run adds up to a figure, question by question: the figure is the sum of `top` over that of `bottom`.

    Attributes:
        top: what counts, [N]: 1 for an answer that is right, or nats.
        bottom: what it is a share of, [N]: 1 for a question that counts, or tokens; 0 for one that does not count.
        clusters: what is drawn together, [N]: questions of one family are not independent.
    """

    top: Floats
    bottom: Floats
    clusters: NDArray[np.str_]

    @staticmethod
    def share(
        happened: Sequence[bool] | NDArray[np.bool_], clusters: Sequence[str] | NDArray[np.str_], of: Any = None
    ) -> "Tally":
        """Return the share of the questions for which `of` is true (all, by default) of which something happened."""
        bottom = np.ones(len(happened)) if of is None else np.asarray(of, dtype=np.float64)
        return Tally(np.asarray(happened, dtype=np.float64) * bottom, bottom, np.asarray(clusters, dtype=np.str_))


@dataclass(frozen=True)
class Figure:
    """A share or mean over runs and questions.

    Attributes:
        mean: over all runs; None if nothing counted.
        low, high: ends of the 95 % interval.
        count: questions that counted, on average over runs.
        by_seed: of each run.
        drawn: the figure in bootstrap samples, [B]; the same questions and runs for all figures of the same ones.
        fixed: whether no sample could differ, as where something never happened.
    """

    mean: float | None
    low: float | None
    high: float | None
    count: float
    by_seed: list[float | None]
    drawn: Floats
    fixed: bool

    def told(self) -> dict[str, Any]:
        """Return what a report says of it."""
        return {key: getattr(self, key) for key in ("mean", "low", "high", "count", "by_seed")}


def figure(tallies: Sequence[Tally], seed: int = 0) -> Figure:
    """Put the tallies of several runs together, one for each run, over the same questions.

    The interval is 95 %, by bootstrap: clusters are drawn with all their questions, and runs with all their answers. Of
    one run it says nothing about others; of three it is too narrow. Where something never or always happened, no
    sample differs: then it is Wilson's, with one observation a cluster, as if all runs were one.
    """
    names, cluster_N = np.unique(tallies[0].clusters, return_inverse=True)
    top_SC, bottom_SC = (
        np.stack([np.bincount(cluster_N, getattr(one, part), len(names)) for one in tallies])
        for part in ("top", "bottom")
    )
    count = float(np.mean([(one.bottom > 0).sum() for one in tallies]))
    by_seed = [_over(top, bottom) for top, bottom in zip(top_SC.sum(1), bottom_SC.sum(1), strict=True)]
    mean = _over(top_SC.sum(), bottom_SC.sum())
    if mean is None:
        return Figure(None, None, None, count, by_seed, np.zeros(0), True)
    rng = np.random.default_rng(seed)
    drawn_BC = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES).astype(np.float64)
    drawn_BS = rng.multinomial(len(tallies), np.full(len(tallies), 1 / len(tallies)), size=RESAMPLES)
    top_B, bottom_B = (((drawn_BC @ part.T) * drawn_BS).sum(1) for part in (top_SC, bottom_SC))
    drawn_B = np.divide(top_B, bottom_B, out=np.full(RESAMPLES, np.nan), where=bottom_B > 0)
    if mean in (0.0, 1.0):
        clusters = int((bottom_SC.sum(0) > 0).sum())
        low, high = intervals.wilson(round(mean * clusters), clusters)
        return Figure(mean, low, high, count, by_seed, drawn_B, True)
    low, high = intervals.percentiles(drawn_B[~np.isnan(drawn_B)])
    return Figure(mean, low, high, count, by_seed, drawn_B, False)


def difference(one: Figure, other: Figure) -> dict[str, float | None]:
    """Return `{"mean", "low", "high"}` of how much larger one figure is than another.

    By bootstrap, where both were drawn; else by both intervals (Newcombe 1998, method 10).
    """
    if one.mean is None or other.mean is None:
        return {"mean": None, "low": None, "high": None}
    mean = one.mean - other.mean
    if not (one.fixed or other.fixed):
        drawn_B = one.drawn - other.drawn
        low, high = intervals.percentiles(drawn_B[~np.isnan(drawn_B)])
        return {"mean": mean, "low": low, "high": high}
    assert None not in (one.low, one.high, other.low, other.high)
    below = math.hypot(one.mean - one.low, other.high - other.mean)  # type: ignore[operator]
    above = math.hypot(one.high - one.mean, other.mean - other.low)  # type: ignore[operator]
    return {"mean": mean, "low": mean - below, "high": mean + above}


def _over(top: float, bottom: float) -> float | None:
    return float(top / bottom) if bottom > 0 else None
