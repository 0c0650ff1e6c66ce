"""Waves in a table of vectors: whether numbers are arranged on lines and circles, and how few of these suffice.

Shape suffixes: N rows (numbers in their order), W columns, F frequencies.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

TOP = 5  # frequencies: the networks of Nanda et al. 2023 add modulo 113 with five of 56


def power_spectrum(rows_NW: ArrayLike) -> NDArray[np.float64]:
    """Return which share of the rows' variation goes through 1, 2, … ⌊N/2⌋ whole waves from the first row to the last.

    The discrete Fourier transform along the rows, its squared size summed over the columns (Nanda et al. 2023,
    arXiv:2301.05217, section 4.1); the mean row, frequency 0, is left out. Rows that go round in k equal circles have
    all their power at frequency k. Points on a line have most of it at 1, and unordered ones an equal share at each
    (half of it at N/2 if N is even, since that frequency has a cosine only).

    Returns:
        shares [F], which sum to 1; all 0 if the rows are equal.
    """
    table_NW = np.asarray(rows_NW, dtype=np.float64)
    waves_FW = np.fft.rfft(table_NW - table_NW.mean(0), axis=0)[1:]
    power_F = (np.abs(waves_FW) ** 2).sum(1)
    if len(table_NW) % 2 == 0 and len(power_F):
        power_F[-1] /= 2  # the other frequencies stand for two terms of the whole transform, this one for itself
    total = power_F.sum()
    return power_F / total if total > 1e-12 * max(1.0, float((table_NW**2).sum())) else np.zeros_like(power_F)


def top_share(power_F: NDArray[np.float64], top: int = TOP) -> float:
    """Return the share of the power that the `top` strongest frequencies hold, in 0..1."""
    return float(np.sort(power_F)[::-1][:top].sum())


def gini(power_F: NDArray[np.float64]) -> float:
    """Return how unequal the frequencies' sizes are: 0 if all are equal, 1 − 1/F if there is one only.

    The Gini coefficient of the sizes (the roots of the power), by which Nanda et al. 2023 follow grokking (section 5);
    the formula is Hurley and Rickard 2009, arXiv:0811.4706, table I.
    """
    sizes_F = np.sort(np.sqrt(power_F))
    count, total = len(sizes_F), sizes_F.sum()
    if total == 0:
        return 0.0
    rank_F = np.arange(1, count + 1)
    return float(1 - 2 * (sizes_F / total * (count - rank_F + 0.5) / count).sum())


def spectrum(rows_NW: ArrayLike, seed: int = 0, orders: int = 999) -> dict[str, Any]:
    """Compare the share of the slowest wave, on which neighbours lie closest, with that of the rows in random orders.

    The strongest wave would not do: rows that lie on a line have one in many a wrong order too (every third, say).

    Returns:
        `power`: list [F] of shares; `slowest`: the share of frequency 1; `p`: how often a random order's is as great,
        itself counted in.
    """
    table_NW = np.asarray(rows_NW, dtype=np.float64)
    power_F = power_spectrum(table_NW)
    generator = np.random.default_rng(seed)
    shuffled = [power_spectrum(generator.permutation(table_NW))[0] for _ in range(orders)]
    # An order and its reverse have one spectrum, so equal values must count as equal in spite of rounding.
    at_least = int((np.array(shuffled) >= power_F[0] - 1e-9).sum())
    return {"power": power_F.tolist(), "slowest": float(power_F[0]), "p": (1 + at_least) / (1 + orders)}
