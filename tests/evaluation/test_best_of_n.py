"""The best of n answers: what it is worth, counted over every choice, and how far it is from one answer."""

import itertools
import math

import numpy as np
import pytest

from nudge.evaluation.best_of_n import choose, divergence_bound, expected_best


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_the_best_of_every_choice(n: int, ties: bool) -> None:
    draw = np.random.default_rng(0)
    proxy_PN = draw.integers(0, 3, (4, 6)).astype(float) if ties else draw.normal(size=(4, 6))
    gold_PN = draw.normal(size=(4, 6))
    got_P = expected_best(proxy_PN, gold_PN, n)
    for proxy_N, gold_N, got in zip(proxy_PN, gold_PN, got_P, strict=True):
        best = []
        for chosen in itertools.combinations(range(6), n):
            top = max(proxy_N[list(chosen)])
            # Among equals each is the best equally often, over all choices: the mean of those that are worth as much.
            best.append(np.mean(gold_N[proxy_N == top]))
        assert got == pytest.approx(np.mean(best), rel=1e-12)


def test_many_answers_do_not_overflow() -> None:
    proxy_PN = np.arange(4096.0)[None]
    assert expected_best(proxy_PN, np.ones_like(proxy_PN), 1024)[0] == pytest.approx(1, rel=1e-9)
    assert expected_best(proxy_PN, proxy_PN, 4096)[0] == pytest.approx(4095)
    assert choose(np.array([[0.0, 2.0, 2.0], [3.0, 1.0, 0.0]])).tolist() == [1, 0]


def test_the_bound_is_the_divergence_where_nothing_ties() -> None:
    # Of k equally probable answers, the i-th from the bottom is the best of n in (i^n − (i−1)^n) / k^n of all cases.
    k, n = 20_000, 4
    i = np.arange(1, k + 1) / k
    p = i**n - (i - 1 / k) ** n
    assert float((p * np.log(p * k)).sum()) == pytest.approx(divergence_bound(n), rel=1e-3)
    assert divergence_bound(1) == 0
    # Two answers of which one is nearly certain: ties keep the truth below the bound.
    p_good, n = 0.9, 64
    best = 1 - (1 - p_good) ** n
    assert best * math.log(best / p_good) < divergence_bound(n)
