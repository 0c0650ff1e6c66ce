"""The functional forms of over-optimisation (Gao et al. 2022, arXiv:2210.10760, section 3.1), fitted to gold gains.

Best-of-n: d(α − βd). Reinforcement learning: d(α − β ln d). d = √KL, in √nats; both are linear in α and β.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from nudge.evaluation import intervals

Floats = NDArray[np.float64]
Form = Literal["best_of_n", "rl"]
RESAMPLES = 500  # of questions; each refits a line


@dataclass(frozen=True)
class Fit:
    """A fitted curve."""

    form: Form
    alpha: float
    beta: float

    def at(self, d_N: Floats) -> Floats:
        """Return the gain at each d."""
        return np.asarray(_columns(self.form, d_N) @ np.array([self.alpha, self.beta]))

    def turning(self) -> float | None:
        """Return the d where the curve is highest; None if it rises or falls for ever."""
        if self.alpha <= 0 or self.beta <= 0:
            return None
        if self.form == "best_of_n":
            return self.alpha / (2 * self.beta)
        exponent = self.alpha / self.beta - 1
        return math.exp(exponent) if exponent < 700 else None


def fit(form: Form, d_N: Floats, gain_N: Floats) -> Fit:
    """Fit by least squares; points at d = 0 say nothing."""
    found = optimize.lsq_linear(_columns(form, d_N), gain_N)
    return Fit(form, float(found.x[0]), float(found.x[1]))


def _columns(form: Form, d_N: Floats) -> Floats:
    log_N = np.log(np.where(d_N > 0, d_N, 1.0))
    return np.stack([d_N, -d_N * (d_N if form == "best_of_n" else log_N)], axis=1)


def described(form: Form, kl_NQ: Floats, gain_NQ: Floats, seed: int = 0) -> dict[str, Any]:
    """Fit the mean over questions; return the curve with intervals by bootstrap over questions.

    Args:
        form: which.
        kl_NQ: estimates of KL at N points, by question; those of one point may be the same for all.
        gain_NQ: gold gained since d = 0.
        seed: of the bootstrap.

    Returns:
        `{"form", "alpha", "beta", "turning", "residuals", "rms"}`: the first two and the turning point with their
        intervals; `turning["mean"]` is None where the curve is not highest within what was measured, and
        `turning["share"]` is the share of the resamples in which it is.
    """
    d_N = _root(kl_NQ.mean(1))
    best = fit(form, d_N, gain_NQ.mean(1))
    rng = np.random.default_rng(seed)
    questions = gain_NQ.shape[1]
    resampled = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(questions, size=questions)
        own_N = _root(kl_NQ[:, chosen].mean(1))
        resampled.append((fit(form, own_N, gain_NQ[:, chosen].mean(1)), float(own_N.max())))
    turns = [turn for one, most in resampled if (turn := _inside(one, most)) is not None]
    residual_N = gain_NQ.mean(1) - best.at(d_N)
    return {
        "form": "d (alpha - beta d)" if form == "best_of_n" else "d (alpha - beta ln d)",
        "alpha": _with_interval(best.alpha, [one.alpha for one, _ in resampled]),
        "beta": _with_interval(best.beta, [one.beta for one, _ in resampled]),
        "turning": _with_interval(_inside(best, float(d_N.max())), turns) | {"share": len(turns) / RESAMPLES},
        "residuals": residual_N.tolist(),
        "rms": float(np.sqrt((residual_N**2).mean())),
    }


def _root(kl_N: Floats) -> Floats:
    return np.sqrt(np.maximum(kl_N, 0.0))  # an estimate of a small divergence may be below 0


def _inside(one: Fit, most: float) -> float | None:
    turn = one.turning()
    return turn if turn is not None and turn <= most else None


def _with_interval(value: float | None, resampled: Sequence[float]) -> dict[str, Any]:
    low, high = intervals.percentiles(np.array(resampled)) if resampled else (None, None)
    return {"mean": value, "low": low, "high": high}
