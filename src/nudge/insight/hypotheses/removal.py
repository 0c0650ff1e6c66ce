"""Removal: what is left of a state when the directions that carry an order are taken out, and as much at random.

Shape suffixes: N numbers, W width of their states, K dimensions of a subspace.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def line(numbers_N: NDArray[np.int64]) -> Floats:
    """Return the numbers as points on a line, [N, 1]."""
    return numbers_N[:, None].astype(np.float64)


def helix(numbers_N: NDArray[np.int64]) -> Floats:
    """Return the numbers as points on a line and on circles that close after 10 and after 100, [N, 5].

    The helix on which language models hold numbers (Kantamneni and Tegmark 2025, arXiv:2502.00873), without its circles
    of periods 2 and 5, on which neighbours don't lie close.
    """
    angle_N2 = 2 * np.pi * numbers_N[:, None] / np.array([10, 100])
    return np.concatenate([line(numbers_N), np.cos(angle_N2), np.sin(angle_N2)], axis=1)


def carrying(states_NW: Floats, features_NK: Floats) -> Floats:
    """Return orthonormal directions [W, K] without which no linear probe can read the features.

    They span the covariances of states and features: after their removal none is left (Shao et al. 2023,
    arXiv:2203.07893, with all directions kept).
    """
    covariance_WK = _centred(states_NW).T @ _centred(features_NK)
    left_WK, size_K, _ = np.linalg.svd(covariance_WK, full_matrices=False)
    return left_WK[:, size_K > 1e-10 * max(size_K.max(initial=0), 1e-30)]


def share(states_NW: Floats, directions_WK: Floats) -> float:
    """Return which share of the states' variance lies in a subspace."""
    centred_NW = _centred(states_NW)
    return float(((centred_NW @ directions_WK) ** 2).sum() / max(float((centred_NW**2).sum()), 1e-30))


def at_random(states_NW: Floats, directions_WK: Floats, count: int, generator: np.random.Generator) -> list[Floats]:
    """Return random subspaces of the same dimension, each [W, K], that hold the same share of the states' variance.

    Directions are drawn from a normal distribution over the states' principal components; the power of the components'
    sizes that scales it is found by bisection, from the least varied components to the most varied ones.
    """
    wanted, dimension = share(states_NW, directions_WK), directions_WK.shape[1]
    _, size_M, component_MW = np.linalg.svd(_centred(states_NW), full_matrices=False)
    kept_M = size_M > 1e-6 * size_M.max(initial=0)
    size_M1, component_MW = size_M[kept_M, None] / size_M.max(initial=0), component_MW[kept_M]

    def draw() -> Floats:
        drawn_MK = generator.normal(size=(len(component_MW), dimension))
        basis_MK, low, high = drawn_MK, -30.0, 30.0
        for _ in range(40):
            power = (low + high) / 2
            scale_M1 = np.exp(power * np.log(size_M1) - (power * np.log(size_M1)).max())
            basis_MK = np.linalg.qr(drawn_MK * scale_M1)[0]
            held = float(((size_M1 * basis_MK) ** 2).sum() / (size_M1**2).sum())
            low, high = (power, high) if held < wanted else (low, power)
        return np.asarray(component_MW.T @ basis_MK)

    return [draw() for _ in range(count)]


def _centred(table: Floats) -> Floats:
    return table - table.mean(0)
