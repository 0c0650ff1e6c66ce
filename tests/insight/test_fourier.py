"""The spectrum of tables whose arrangement is known."""

import numpy as np
import pytest

from nudge.insight import fourier

N = 113


def circle(count: int, frequency: int) -> np.ndarray:
    angle_N = 2 * np.pi * frequency * np.arange(count) / count
    return np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)


def test_a_circle_has_all_its_power_at_its_frequency() -> None:
    """Guards the frequencies' numbering: frequency 0 is left out, so index 0 is one whole wave."""
    power_F = fourier.power_spectrum(7.0 + circle(N, 14))
    assert len(power_F) == 56
    assert power_F[13] == pytest.approx(1)
    assert fourier.gini(power_F) == pytest.approx(1 - 1 / 56, abs=1e-6)


def test_power_is_the_variation_of_the_rows() -> None:
    """Guards the last frequency of an even count, which an unhalved transform counts twice."""
    both = np.hstack([circle(8, 1), np.cos(np.pi * np.arange(8))[:, None]])
    assert fourier.power_spectrum(both)[[0, 3]] == pytest.approx([0.5, 0.5])


def test_unordered_rows_have_power_everywhere() -> None:
    rows = np.random.default_rng(0).normal(size=(N, 64))
    power_F = fourier.power_spectrum(rows)
    assert fourier.top_share(power_F) < 0.2
    assert fourier.gini(power_F) < 0.2
    assert fourier.top_share(power_F, len(power_F)) == pytest.approx(1)


def test_equal_rows_have_no_power() -> None:
    """Guards against rounding errors that a division by their sum would blow up to a spectrum."""
    power_F = fourier.power_spectrum(np.full((10, 4), 1 / 3))
    assert power_F.sum() == 0
    assert fourier.gini(power_F) == 0


def test_only_the_right_order_of_a_circle_stands_out() -> None:
    """Guards the permutation test: it must refuse an order that means nothing."""
    once_round = circle(10, 1)
    assert fourier.spectrum(once_round)["p"] < 0.01
    assert fourier.spectrum(once_round[[3, 8, 0, 6, 2, 9, 4, 7, 1, 5]])["p"] > 0.1
