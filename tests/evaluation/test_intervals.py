"""Intervals hold what textbooks say, and what they promise."""

import numpy as np
import pytest

from nudge.evaluation import intervals


def test_wilson_agrees_with_a_published_table() -> None:
    # Newcombe (1998, Statistics in Medicine 17, table I), method 3: the score interval without continuity correction.
    for right, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert intervals.wilson(right, count) == pytest.approx((low, high), abs=5e-5)


def test_a_share_of_nothing_has_no_figures() -> None:
    # 0/0 once would have been a division error, or 0 % right.
    assert intervals.share(0, 0) == {"count": 0, "right": 0, "share": None, "low": None, "high": None}
    assert intervals.mean([3.0]) == {"count": 1, "mean": 3.0, "low": None, "high": None}


def test_bootstrap_interval_of_a_mean_is_that_of_a_normal_one() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400).tolist()
    found = intervals.mean(values)
    half = 1.96 * np.std(values) / 20
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["low"] == pytest.approx(np.mean(values) - half, abs=0.03)
    assert found["high"] == pytest.approx(np.mean(values) + half, abs=0.03)
    assert intervals.mean(values) == found, "the same figures in every run"


def test_clusters_are_drawn_whole_and_kept_at_their_number() -> None:
    clusters = ["a", "a", "b", "c", "c", "c"]
    drawn_RN = intervals.drawn_clusters(clusters, 1000, np.random.default_rng(0))
    assert (drawn_RN[:, 0] == drawn_RN[:, 1]).all()
    assert (drawn_RN[:, 3:] == drawn_RN[:, 3:4]).all()
    assert (drawn_RN[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert drawn_RN.mean() == pytest.approx(1, abs=0.05)
