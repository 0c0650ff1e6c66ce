"""Linear probes: what can be read off the state of a number that the probe has never seen.

Shape suffixes: N numbers, W width of their states, C control tasks, R bootstrap samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

TARGETS = ("magnitude", "tens", "ones")
CONTROLS = 10  # random labellings; the mean of their scores is then steady to a hundredth
# Against ten numbers held out and ninety seen in 64 dimensions; after scaling, anything from 0.1 to 10 would do.
RIDGE = 1.0


@dataclass(frozen=True)
class Probed:
    """The predictions for held-out numbers.

    Attributes:
        numbers_N: the numbers.
        magnitude_N: what was read as the number's size.
        right_N: by "tens" and "ones", whether that digit was read right.
        control: by target, the mean score of the same probes trained on labels of other numbers, drawn at random.
    """

    numbers_N: Numbers
    magnitude_N: Floats
    right_N: dict[str, NDArray[np.bool_]]
    control: dict[str, float]

    def scores(self, target: str, weight_RN: Floats) -> Floats:
        """Return the score in samples of the numbers, given how often each holds each number.

        R² for "magnitude", 0 if it is negative: a probe that is worse than the mean has read nothing. The share of
        right digits for "tens" and "ones".
        """
        if target == "magnitude":
            return np.clip(_r_squared(self.magnitude_N, self.numbers_N, weight_RN), 0, None)
        return weight_RN @ self.right_N[target] / weight_RN.sum(1)

    def score(self, target: str) -> float:
        """Return the score over all numbers."""
        return float(self.scores(target, np.ones((1, len(self.numbers_N))))[0])


def probe(states_NW: Floats, numbers_N: Numbers, seed: int = 0) -> Probed:
    """Train ridge probes on nine tenths of the numbers and read the rest, ten times.

    Each tenth holds one number of each decade and one of each last digit, so every digit is always seen in training,
    but with other partners. The control task (Hewitt and Liang 2019, arXiv:1909.03368) gives each number the labels of
    another: what a probe still gets right then, it owes to chance.

    Args:
        states_NW: one state a number.
        numbers_N: numbers from 0 to 99, of at least two tenths.
    """
    folds = PredefinedSplit((numbers_N // 10 + numbers_N) % 10)
    generator = np.random.default_rng(seed)
    labels = [numbers_N, *(generator.permutation(numbers_N) for _ in range(CONTROLS))]
    targets = np.concatenate([_targets(label_N) for label_N in labels], axis=1)
    predicted = cross_val_predict(make_pipeline(StandardScaler(), Ridge(RIDGE)), states_NW, targets, cv=folds)
    probed = [_read(label_N, one) for label_N, one in zip(labels, np.split(predicted, len(labels), 1), strict=True)]
    right = {"tens": probed[0].right_N["tens"], "ones": probed[0].right_N["ones"]}
    control = {target: float(np.mean([one.score(target) for one in probed[1:]])) for target in TARGETS}
    return Probed(numbers_N, probed[0].magnitude_N, right, control)


def _targets(numbers_N: Numbers) -> Floats:
    """Return magnitude, in units in which it varies about as much as the digits' indicators, and the indicators."""
    return np.concatenate([numbers_N[:, None] / 100, np.eye(10)[numbers_N // 10], np.eye(10)[numbers_N % 10]], axis=1)


def _read(numbers_N: Numbers, predicted: Floats) -> Probed:
    tens_N, ones_N = predicted[:, 1:11].argmax(1), predicted[:, 11:].argmax(1)
    right = {"tens": tens_N == numbers_N // 10, "ones": ones_N == numbers_N % 10}
    return Probed(numbers_N, 100 * predicted[:, 0], right, {})


def _r_squared(predicted_N: Floats, true_N: Numbers, weight_RN: Floats) -> Floats:
    mean_R1 = (weight_RN @ true_N / weight_RN.sum(1))[:, None]
    return 1 - (weight_RN @ (predicted_N - true_N) ** 2) / (weight_RN * (true_N - mean_R1) ** 2).sum(1)
