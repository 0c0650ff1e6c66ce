"""How a reward model's margins are turned into agreement with raters, ceilings and a table of calibration."""

import math
from pathlib import Path

import numpy as np
import pytest

from nudge.data import raters, ratings
from nudge.data.ratings import Rating
from nudge.errors import UserError
from nudge.evaluation import preference
from nudge.model import saved


def margin(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_calibration_is_seen_from_the_side_that_the_model_prefers() -> None:
    # Ten pairs at 0.9: of them eight were chosen so. Four at 0.6, three chosen; their sign says which.
    margins = np.array([margin(0.9)] * 8 + [margin(0.1)] * 2 + [margin(0.6)] * 3 + [margin(0.4)])
    table = preference.calibration(margins)
    assert [one["count"] for one in table] == [4, 10]
    low, high = table
    assert (low["from"], low["to"]) == (pytest.approx(0.6), pytest.approx(0.65))
    assert (low["predicted"], low["chosen"]) == (pytest.approx(0.6), 0.75)
    assert (high["predicted"], high["chosen"]) == (pytest.approx(0.9), 0.8)


def test_calibration_at_its_ends() -> None:
    table = preference.calibration(np.array([0.0, 1e9, -1e9]))
    assert [(one["from"], one["count"]) for one in table] == [(0.5, 1), (pytest.approx(0.95), 2)]
    assert table[0]["chosen"] == 0, "a tie is not right"
    assert (table[1]["predicted"], table[1]["chosen"]) == (1.0, 0.5)
    assert preference.calibration(np.zeros(0)) == []


def rated(in_chain: Path) -> list[Rating]:
    return ratings.read(in_chain / "corpus/preferences/ratings.jsonl")


def test_a_margin_is_of_the_chosen_answer_over_the_other(in_chain: Path) -> None:
    model = saved.load_reward(in_chain / "models/reward")
    some = rated(in_chain)[:20]
    found = preference.margins(model, some)
    other = [one.model_copy(update={"choice": "B" if one.choice == "A" else "A"}) for one in some]
    swapped = [one.model_copy(update={"A": one.B, "B": one.A}) for one in some]
    assert np.allclose(preference.margins(model, other), -found, atol=1e-6)
    assert np.allclose(preference.margins(model, swapped), -found, atol=1e-6)
    assert np.allclose(preference.margins(model, some[7:8]), found[7:8], atol=1e-6), "its neighbours count"
    with pytest.raises(UserError, match="'bonjour': unknown word"):
        preference.margins(model, [some[0].model_copy(update={"A": "bonjour"})])


def test_the_ceiling_is_what_slips_and_coins_leave(in_chain: Path) -> None:
    found = preference.measure(in_chain / "models/reward")
    held_out = {one["rater"]: one for one in found["raters"]}
    some = [one for one in rated(in_chain) if one.rater == "simulated-0.25"]
    coins = [one for one in some if one.why == raters.COIN]
    assert 0 < len(coins) < len(some)
    steady, slipping = held_out["simulated-0.00"], held_out["simulated-0.25"]
    ties = 2 * (1 - steady["ceiling"])  # of an undecided pair half is foreseen
    assert slipping["ceiling"] == pytest.approx((1 - ties) * 0.75 + ties / 2)
    assert slipping["share"] <= steady["share"] + 0.1
