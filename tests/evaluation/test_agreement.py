"""Agreement between raters is what a person counts by hand, on the pairs that both rated."""

import pytest

from nudge.data.ratings import Rating
from nudge.evaluation.agreement import agreement


def ratings(rater: str, choices: str, first: int = 0) -> list[Rating]:
    return [
        Rating.model_validate(
            {"pair": f"p{number:02}", "rater": rater, "simulated": False, "flip_rate": None, "why": "right"}
            | {"time": "2026-01-31T12:00:00+00:00", "prompt": "q", "A": "a", "B": "b", "choice": choice}
        )
        for number, choice in enumerate(choices, first)
    ]


def test_equal_choices_their_interval_and_kappa() -> None:
    # p0 is ada's alone and p9 bob's; on the eight in common they agree in six.
    rows = agreement(ratings("ada", "AAAAABBBB") + ratings("bob", "AAABBBBAA", first=1))
    assert len(rows) == 1
    row = rows[0]
    assert (row["one"], row["other"], row["count"], row["right"], row["share"]) == ("ada", "bob", 8, 6, 0.75)
    # By chance: both say A 4/8, B 4/8.
    chance = 0.5
    assert row["kappa"] == pytest.approx((0.75 - chance) / (1 - chance))
    assert row["low"] == pytest.approx(0.409, abs=1e-3)  # Wilson 1927, 6 of 8
    assert row["high"] == pytest.approx(0.929, abs=1e-3)


def test_kappa_says_nothing_where_all_choices_are_of_one_side() -> None:
    assert agreement(ratings("ada", "AAAA") + ratings("bob", "AAAA"))[0]["kappa"] is None


def test_raters_without_a_pair_in_common_are_left_out() -> None:
    assert agreement(ratings("ada", "AB") + ratings("bob", "AB", first=2)) == []
