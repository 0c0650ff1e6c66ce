"""Intervals of what is measured over facts, from bootstrap samples of whole fact families."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nudge.evaluation.intervals import RESAMPLES, drawn_clusters, percentiles
from nudge.insight.finding import Figure
from nudge.insight.questions import Questions

Values = NDArray[np.float64]
Role = Literal["measure", "intervention", "control"]


class Resampling:
    """The same bootstrap samples of questions for every figure, so that differences are paired.

    Shape suffixes: B questions, R samples, K figures.

    Args:
        questions: what all values will be of, in this order; families are drawn whole, as in `drawn_clusters`.
        seed: chooses the samples.
    """

    def __init__(self, questions: Questions, seed: int = 0) -> None:
        families = [str(row["family"] or row["text"]) for row in questions.rows]
        self.weight_RB = drawn_clusters(families, RESAMPLES, np.random.default_rng(seed))

    def means(self, values_BK: Values, among_B: NDArray[np.bool_] | None = None) -> Values:
        """Return the means of each column in each sample, [R, K]; NaN in a sample that has none of `among_B`."""
        weight_RB = self.weight_RB if among_B is None else self.weight_RB * among_B
        with np.errstate(invalid="ignore"):
            return (weight_RB @ values_BK) / weight_RB.sum(1, keepdims=True)

    def figure(
        self,
        name: str,
        values_B: Values | Tensor,
        role: Role,
        unit: str = "share",
        among_B: NDArray[np.bool_] | None = None,
    ) -> Figure:
        """Return the mean of values as a figure; of no values it is NaN, and decides nothing."""
        values_B = np.asarray(values_B, dtype=np.float64)
        chosen_B = values_B if among_B is None else values_B[among_B]
        if not len(chosen_B):
            return Figure(name, float("nan"), float("nan"), float("nan"), 0, unit, role)
        return of_samples(
            name, float(chosen_B.mean()), self.means(values_B[:, None], among_B)[:, 0], len(chosen_B), unit, role
        )


def of_samples(
    name: str,
    value: float,
    samples_R: Values,
    n: int,
    unit: str,
    role: Role,
) -> Figure:
    """Return a figure whose interval comes from its values in bootstrap samples; NaN ones are left out."""
    known_R = samples_R[~np.isnan(samples_R)]
    low, high = percentiles(known_R) if len(known_R) and not np.isnan(value) else (float("nan"), float("nan"))
    return Figure(name, value, low, high, n, unit, role)
