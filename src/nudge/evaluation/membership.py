"""Can an attacker tell what a model was trained on? Attacks by the surprise at each fact, and a control."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nudge.data import arithmetic
from nudge.evaluation import intervals

FALSE_POSITIVES = 0.01  # the rate at which an attack that accuses somebody is of use (Carlini et al. 2022)
FEWEST = 30  # members, and non-members: below, an interval says nothing
RESAMPLES = 300
CHUNK = 50  # bootstrap samples at once: 50 × 16,294 facts × 8 bytes = 6.5 MB a matrix


@dataclass(frozen=True)
class Suspects:
    """Facts that an attacker suspects of having been trained on.

    Attributes:
        score_N: the attack's score; the higher, the more it suspects.
        member_N: whether the fact really was in training.
        family_N: facts of one family are all members or all not, and known or unknown together.
        operation_N: of each fact.
    """

    score_N: NDArray[np.float64]
    member_N: NDArray[np.bool_]
    family_N: list[str]
    operation_N: list[str]

    def where(self, kept_N: NDArray[np.bool_]) -> "Suspects":
        """Return those for which `kept_N` is true."""
        kept = np.flatnonzero(kept_N)
        return Suspects(
            self.score_N[kept],
            self.member_N[kept],
            [self.family_N[place] for place in kept],
            [self.operation_N[place] for place in kept],
        )


def attack(name: str, suspects: Suspects, seed: int = 0) -> list[dict[str, Any]]:
    """Return how well an attack tells members from others, over all facts and by operation.

    Returns:
        rows `{"attack", "operation", "members", "others", "auc", "auc_low", "auc_high", "tpr", "tpr_low", "tpr_high"}`:
        the area under the ROC curve, 0.5 where the attack is blind, and the true-positive rate at 1 % false positives,
        0.01 where it is blind, with 95 % intervals of a bootstrap over families. Figures are None where there are fewer
        than `FEWEST` members or others.
    """
    operation_N = np.array(suspects.operation_N)
    present = [operation for operation in arithmetic.OPERATIONS if (operation_N == operation).any()]
    rows = [{"attack": name, "operation": "all", **figures(suspects, seed)}]
    for operation in present:
        of_it = suspects.where(operation_N == operation)
        rows.append({"attack": name, "operation": operation, **figures(of_it, seed)})
    return rows


def figures(suspects: Suspects, seed: int = 0) -> dict[str, float | int | None]:
    """Return an attack's figures over one set of facts; see `attack`."""
    members = int(suspects.member_N.sum())
    others = len(suspects.member_N) - members
    counts: dict[str, float | int | None] = {"members": members, "others": others}
    if min(members, others) < FEWEST:
        return counts | dict.fromkeys(("auc", "auc_low", "auc_high", "tpr", "tpr_low", "tpr_high"))
    generator = np.random.default_rng(seed)
    auc_R, tpr_R = [], []
    for _ in range(RESAMPLES // CHUNK):
        weight_RN = np.empty((CHUNK, len(suspects.member_N)))
        for group_N in (suspects.member_N, ~suspects.member_N):  # apart, so that each keeps its share
            of_group = [suspects.family_N[place] for place in np.flatnonzero(group_N)]
            weight_RN[:, group_N] = intervals.drawn_clusters(of_group, CHUNK, generator)
        curve = weighted_curve(suspects.score_N, suspects.member_N, weight_RN)
        auc_R.append(area(*curve))
        tpr_R.append(true_positives(*curve))
    auc_low, auc_high = intervals.percentiles(np.concatenate(auc_R))
    tpr_low, tpr_high = intervals.percentiles(np.concatenate(tpr_R))
    curve = weighted_curve(suspects.score_N, suspects.member_N, np.ones((1, len(suspects.member_N))))
    return counts | {
        "auc": float(area(*curve)[0]),
        "auc_low": auc_low,
        "auc_high": auc_high,
        "tpr": float(true_positives(*curve)[0]),
        "tpr_low": tpr_low,
        "tpr_high": tpr_high,
    }


def weighted_curve(
    score_N: NDArray[np.float64], member_N: NDArray[np.bool_], weight_RN: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return false- and true-positive rates [R, thresholds + 1] of R weightings of the same facts.

    What sklearn.metrics.roc_curve gives for one weighting, for all bootstrap samples at once: the scores are sorted
    only once. Facts with equal scores are accused together.
    """
    order = np.argsort(-score_N, kind="stable")
    sorted_N = score_N[order]
    starts = np.flatnonzero(np.r_[True, sorted_N[1:] != sorted_N[:-1]])
    rates = []
    for group_N in (~member_N[order], member_N[order]):
        mass_RT = np.add.reduceat(weight_RN[:, order] * group_N, starts, axis=1)
        total_RT = np.concatenate((np.zeros((len(weight_RN), 1)), mass_RT.cumsum(axis=1)), axis=1)
        rates.append(total_RT / total_RT[:, -1:])
    return rates[0], rates[1]


def area(false_RT: NDArray[np.float64], true_RT: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area under each ROC curve, by trapezoids, so that a tie counts one half."""
    return np.asarray(np.trapezoid(true_RT, false_RT, axis=1))


def true_positives(false_RT: NDArray[np.float64], true_RT: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each curve's greatest true-positive rate among thresholds with at most 1 % false positives."""
    return np.where(false_RT <= FALSE_POSITIVES, true_RT, 0.0).max(axis=1)


def null_control(
    score_N: NDArray[np.float64], family_N: Sequence[str], operation_N: Sequence[str], seed: int = 0
) -> Suspects:
    """Call a random half of the families of held-out facts members: nothing can tell them from the other half."""
    families = sorted(set(family_N))
    generator = np.random.default_rng(seed)
    half = {families[place] for place in generator.permutation(len(families))[: len(families) // 2]}
    return Suspects(score_N, np.array([one in half for one in family_N]), list(family_N), list(operation_N))
