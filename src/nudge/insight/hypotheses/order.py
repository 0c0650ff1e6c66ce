"""Whether neighbouring numbers lie close: distances between states against distances between numbers.

Shape suffixes: N numbers, W width of their states, P pairs of numbers, R repetitions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from nudge.evaluation import intervals

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ORDERS = 999  # random orders; the least p is then 1/1000


@dataclass(frozen=True)
class Order:
    """How the distances of states follow the distances of numbers.

    Attributes:
        correlation: Pearson's, over all pairs of numbers: 1 if the states lie evenly on a line.
        permuted_R: the same after exchanging the numbers at random.
    """

    correlation: float
    permuted_R: Floats

    @property
    def p(self) -> float:
        """Return how often a random exchange gives as high a correlation, itself counted in (Mantel 1967)."""
        return float((1 + (self.permuted_R >= self.correlation - 1e-12).sum()) / (1 + len(self.permuted_R)))


def order(states_NW: Floats, numbers_N: Ints, metric: str, seed: int = 0, orders: int = ORDERS) -> Order:
    """Correlate the distances of states with those of their numbers.

    Pairs are not independent, so the numbers are what is exchanged, never the pairs (Mantel's test).

    Args:
        states_NW: one state a number.
        numbers_N: the numbers, at least three.
        metric: "cosine" or "euclidean".
        seed: of the exchanges.
        orders: how many exchanges.
    """
    exchanged_RN = np.random.default_rng(seed).permuted(np.tile(np.arange(len(numbers_N)), (orders, 1)), axis=1)
    first_P, second_P = np.triu_indices(len(numbers_N), 1)
    apart_P = _standard(pdist(numbers_N[:, None].astype(np.float64))) / len(first_P)
    distance_NN = squareform(_standard(pdist(states_NW, metric)))
    permuted_RP = distance_NN[exchanged_RN[:, first_P], exchanged_RN[:, second_P]]
    return Order(float(distance_NN[first_P, second_P] @ apart_P), permuted_RP @ apart_P)


def correlation(states_NW: Floats, numbers_N: Ints, metric: str) -> float:
    """Return the correlation alone."""
    return order(states_NW, numbers_N, metric, orders=1).correlation


def resampled(states_NW: Floats, numbers_N: Ints, metric: str, seed: int = 0) -> Floats:
    """Return the correlation in bootstrap samples of the numbers, [R]; a pair of a number with itself is left out."""
    count = len(numbers_N)
    drawn_RN = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=intervals.RESAMPLES)
    first_P, second_P = np.triu_indices(count, 1)
    times_RP = (drawn_RN[:, first_P] * drawn_RN[:, second_P]).astype(np.float64)
    return _correlations(pdist(states_NW, metric), pdist(numbers_N[:, None].astype(np.float64)), times_RP)


def mean(orders: list[Order]) -> Order:
    """Average over classes of words, each exchanged within itself."""
    correlation = float(np.mean([one.correlation for one in orders]))
    return Order(correlation, np.mean([one.permuted_R for one in orders], axis=0))


def _standard(values_P: Floats) -> Floats:
    spread = values_P.std()
    return (values_P - values_P.mean()) / spread if spread > 1e-9 else np.zeros_like(values_P)


def _correlations(a_P: Floats, b_P: Floats, weight_RP: Floats) -> Floats:
    """Return the correlation under each row of weights; 0 where one side does not vary."""
    weight_RP = weight_RP / weight_RP.sum(1, keepdims=True).clip(1)
    mean_a_R, mean_b_R = weight_RP @ a_P, weight_RP @ b_P
    variance_R = (weight_RP @ a_P**2 - mean_a_R**2) * (weight_RP @ b_P**2 - mean_b_R**2)
    product_R = weight_RP @ (a_P * b_P) - mean_a_R * mean_b_R
    return np.divide(product_R, np.sqrt(variance_R.clip(0)), out=np.zeros_like(product_R), where=variance_R > 1e-18)
