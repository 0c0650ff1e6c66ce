"""In which order facts were learned: curves and medians by kind of fact, and whether the last are the rare ones.

Shape suffixes as in `insight/learning.py`, and R bootstrap samples.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from nudge.evaluation.intervals import drawn_clusters, percentiles
from nudge.insight.learning import NEVER, History, carries

RESAMPLES = 200  # of up to 13,000 facts; the ends of the interval move by a twentieth of its width from seed to seed
LAST = 20  # facts in the table of those that came last

Mask = NDArray[np.bool_]


def summary(past: History, seed: int = 0) -> dict[str, Any]:
    """Return what a history says, as plain values.

    Returns:
        `steps`; `weight_norm` at each; `loss`, one row a step and split, in nats per token; `exact_match`, one row a
        step and kind of fact; `learning_time`, one row a kind; `rarity`, one row a kind and what is counted; `last`,
        the facts that came last. A kind is a split, an operation (or "all"), and whether it carries (null for either).
    """
    return {
        "steps": past.steps,
        "weight_norm": past.weight_norm_S,
        "loss": _loss(past),
        "exact_match": [
            {"step": step, **kind, "exact_match": float(right), "count": int(here_B.sum())}
            for kind, here_B in _kinds(past)
            for step, right in zip(past.steps, past.right_SB[:, here_B].mean(1), strict=True)
        ],
        "learning_time": [{**kind, **_times(past.learned_at[here_B])} for kind, here_B in _kinds(past)],
        "rarity": [
            row for kind, here_B in _kinds(past) if kind["carries"] is None for row in _rarity(past, kind, here_B, seed)
        ],
        "last": _last(past),
    }


def _kinds(past: History) -> Iterator[tuple[dict[str, Any], Mask]]:
    """Yield each kind of fact that occurs, and which facts are of it."""
    operation_B = np.array([row["operation"] for row in past.rows])
    carries_B = np.array([carries(row) for row in past.rows], dtype=object)
    for split in dict.fromkeys(past.split_B.tolist()):
        in_split_B = past.split_B == split
        yield {"split": split, "operation": "all", "carries": None}, in_split_B
        for operation in dict.fromkeys(operation_B.tolist()):
            for carry in (None, False, True):
                here_B = in_split_B & (operation_B == operation)
                if carry is not None:
                    here_B = here_B & (carries_B == carry)
                if here_B.any():
                    yield {"split": split, "operation": operation, "carries": carry}, here_B


def _loss(past: History) -> list[dict[str, Any]]:
    rows = []
    for split in dict.fromkeys(past.split_B.tolist()):
        here_B = past.split_B == split
        loss_S = past.text_SB[:, here_B].sum(1, dtype=np.float64) / past.targets_B[here_B].sum()
        answer_S = past.answer_SB[:, here_B].mean(1, dtype=np.float64)
        rows += [
            {"step": step, "split": split, "loss": float(loss), "answer_surprisal": float(answer)}
            for step, loss, answer in zip(past.steps, loss_S, answer_S, strict=True)
        ]
    return rows


def _times(learned_at_N: NDArray[np.float64]) -> dict[str, Any]:
    """Return the quartiles of learning times, null where that share was never learned, and counts.

    Quartiles are times of facts that exist: of two middle ones the earlier is taken.
    """
    ordered_N = np.sort(learned_at_N)
    quartiles = {
        name: ordered_N[int(np.ceil(share * len(ordered_N))) - 1]
        for name, share in (("quarter", 0.25), ("median", 0.5), ("three_quarters", 0.75))
    }
    return {
        **{name: None if step == NEVER else int(step) for name, step in quartiles.items()},
        "learned": int((ordered_N != NEVER).sum()),
        "count": len(ordered_N),
    }


def _rarity(past: History, kind: dict[str, Any], here_B: Mask, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the rank correlation of learning time with how often a fact's answer, or operation, occurs in training.

    Below 0: the rare ones come last. Facts that are never learned come after all others. The interval is of bootstrap
    samples of whole families, with ranks among all facts. Nothing is yielded where all are learned at once, or all are
    equally frequent.
    """
    trained = [row for row, split in zip(past.rows, past.split_B, strict=True) if split == "train"]
    rows = [row for row, here in zip(past.rows, here_B, strict=True) if here]
    families = [str(row["family"]) for row in rows]
    weight_RN = drawn_clusters(families, RESAMPLES, np.random.default_rng(seed))
    late_N = stats.rankdata(past.learned_at[here_B])
    for counted in ("answer", "operation"):
        frequency = Counter(row[counted] for row in trained)
        often_N = stats.rankdata([frequency[row[counted]] for row in rows])
        if np.ptp(late_N) == 0 or np.ptp(often_N) == 0:
            continue
        samples_R = _correlation(late_N, often_N, weight_RN)
        low, high = percentiles(samples_R[~np.isnan(samples_R)])
        value = float(_correlation(late_N, often_N, np.ones((1, len(rows))))[0])
        yield {**kind, "counted": counted, "rank_correlation": value, "low": low, "high": high, "count": len(rows)}


def _correlation(
    x_N: NDArray[np.float64], y_N: NDArray[np.float64], weight_RN: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return Pearson's correlation in each weighted sample, [R]; NaN in one without any variance."""
    x_N, y_N = x_N - x_N.mean(), y_N - y_N.mean()
    moments = np.stack([np.ones_like(x_N), x_N, y_N, x_N * x_N, y_N * y_N, x_N * y_N], axis=1)
    n, x, y, xx, yy, xy = (weight_RN @ moments).T
    with np.errstate(invalid="ignore"):
        return np.asarray((xy / n - x * y / n**2) / np.sqrt((xx / n - (x / n) ** 2) * (yy / n - (y / n) ** 2)))


def _last(past: History) -> list[dict[str, Any]]:
    """Return the facts that came last, or not at all; of those learned at once, the more surprising at the end."""
    frequency = Counter(row["answer"] for row, split in zip(past.rows, past.split_B, strict=True) if split == "train")
    learned_at_B, surprisal_B = past.learned_at, past.answer_SB[-1]
    return [
        {
            "text": past.rows[place]["text"],
            "operation": past.rows[place]["operation"],
            "split": str(past.split_B[place]),
            "learned_at": None if learned_at_B[place] == NEVER else int(learned_at_B[place]),
            "surprisal": float(surprisal_B[place]),
            "answer_in_training": frequency[past.rows[place]["answer"]],
        }
        for place in np.lexsort((-surprisal_B, -learned_at_B))[:LAST]
    ]
