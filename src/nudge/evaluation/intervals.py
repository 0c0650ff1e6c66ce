"""How far a figure can be trusted: intervals around shares, means, and figures of attacks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 1000  # the ends of a 95 % interval then move by about a hundredth of its width from seed to seed


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of which `right` out of `count` were seen (Wilson 1927).

    Unlike right/count ± 1.96 standard errors it keeps within [0, 1] and has a width where all or none were right.
    """
    interval = stats.binomtest(right, count).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def share(right: int, count: int) -> dict[str, float | int | None]:
    """Return `{"count", "right", "share", "low", "high"}`: a share with its Wilson interval; None where count is 0."""
    low, high = wilson(right, count) if count else (None, None)
    return {"count": count, "right": right, "share": right / count if count else None, "low": low, "high": high}


def mean(values: Sequence[float], seed: int = 0) -> dict[str, float | int | None]:
    """Return `{"count", "mean", "low", "high"}`: a mean with its 95 % bootstrap interval (Efron's percentiles).

    Of fewer than two values the interval is None; that of three or four is too narrow, as always with the bootstrap.
    """
    if len(values) < 2:
        return {"count": len(values), "mean": values[0] if values else None, "low": None, "high": None}
    interval = stats.bootstrap(
        (np.asarray(values, dtype=np.float64),),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return {
        "count": len(values),
        "mean": float(np.mean(values)),
        "low": float(interval.low),
        "high": float(interval.high),
    }


def percentiles(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a figure from its values in bootstrap samples."""
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def drawn_clusters(clusters: Sequence[str], resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw bootstrap samples of whole clusters; return how often each value is in each sample, [resamples, N].

    Values of one cluster (facts of one family) are not independent: whoever draws them singly gets intervals that are
    too narrow (Field and Welsh 2007).

    Args:
        clusters: the cluster of each of N values.
    """
    _, cluster_N = np.unique(clusters, return_inverse=True)
    count = int(cluster_N.max()) + 1
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples)[:, cluster_N].astype(np.float64)
