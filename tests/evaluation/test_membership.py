"""Attacks see what is there, and nothing where nothing is."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from nudge.evaluation import membership
from nudge.evaluation.membership import Suspects


def suspects(score_N: np.ndarray, member_N: np.ndarray, families: list[str] | None = None) -> Suspects:
    names = families or [str(place) for place in range(len(score_N))]
    return Suspects(score_N, member_N, names, ["plus"] * len(score_N))


def test_curves_of_weighted_facts_are_those_of_sklearn() -> None:
    # The bootstrap counts a fact several times by its weight; ties must be accused together.
    generator = np.random.default_rng(0)
    member_N = generator.random(500) < 0.6
    score_N = np.round(generator.normal(member_N * 0.7, 1), 1)
    weight_RN = generator.integers(0, 4, (3, 500)).astype(float)
    assert len(np.unique(score_N)) < 100, "there must be ties"
    false_RT, true_RT = membership.weighted_curve(score_N, member_N, weight_RN)
    for weight_N, found in zip(weight_RN, membership.area(false_RT, true_RT), strict=True):
        assert found == pytest.approx(roc_auc_score(member_N, score_N, sample_weight=weight_N))
    for place, weight_N in enumerate(weight_RN):
        false, true, _ = roc_curve(member_N, score_N, sample_weight=weight_N, drop_intermediate=False)
        best = true[false <= 0.01].max()
        assert membership.true_positives(false_RT, true_RT)[place] == pytest.approx(best)


def test_the_extremes() -> None:
    member_N = np.arange(200) < 100
    found = membership.figures(suspects(member_N.astype(float), member_N))
    assert (found["auc"], found["auc_low"], found["tpr"], found["tpr_low"]) == (1, 1, 1, 1)
    blind = membership.figures(suspects(np.zeros(200), member_N))
    assert (blind["auc"], blind["tpr"]) == (0.5, 0), "all equal: nobody can be accused without accusing everybody"
    few = membership.figures(suspects(np.zeros(40), np.arange(40) < 20))
    assert few["members"] == 20
    assert few["auc"] is None


def test_the_null_control_covers_one_half_as_often_as_it_promises() -> None:
    # Facts of a family are surprising together; an interval that takes them for independent is too narrow.
    generator = np.random.default_rng(0)
    families = [str(family) for family in range(150) for _ in range(4)]
    covered = {True: 0, False: 0}
    for seed in range(60):
        score_N = np.repeat(generator.normal(size=150), 4) + 0.1 * generator.normal(size=600)
        null = membership.null_control(score_N, families, ["plus"] * 600, seed)
        for by_family in covered:
            found = membership.figures(suspects(score_N, null.member_N, families if by_family else None))
            assert found["auc_low"] is not None
            assert found["auc_high"] is not None
            covered[by_family] += found["auc_low"] <= 0.5 <= found["auc_high"]
    assert covered[True] >= 53
    assert covered[False] < 48, "the test can fail"


def test_operations_have_rows_of_their_own() -> None:
    member_N = np.tile([True, False], 100)
    operation_N = ["times"] * 100 + ["plus"] * 100
    score_N = np.where(np.array(operation_N) == "times", member_N.astype(float), 0.0)
    names = [str(place) for place in range(200)]
    rows = membership.attack("loss", Suspects(score_N, member_N, names, operation_N))
    assert [(row["operation"], row["auc"]) for row in rows] == [("all", 0.75), ("plus", 0.5), ("times", 1.0)]
