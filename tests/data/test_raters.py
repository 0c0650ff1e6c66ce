"""Simulated raters follow the written rubric, slip as often as they are told, and say that they are simulated."""

from collections import Counter

import pytest

from nudge.data import ratings
from nudge.data.chat import Assistant
from nudge.data.raters import COIN, SLIP, rate
from tests.conftest import REPOSITORY

QUESTION = "what is two plus three ?"


@pytest.fixture(scope="module")
def assistant() -> Assistant:
    return Assistant.read(REPOSITORY / "data/assistant.yaml")


@pytest.mark.parametrize(
    ("better", "worse", "why"),
    [
        ("the answer is five .", "the answer is six .", "right"),
        ("five", "the answer is six , you are welcome .", "right"),
        ("the answer is five .", "five", "form"),
        ("let me think . that is a good question . i am sure that it is five .", "five , obviously .", "polite"),
        ("five", "let me think . that is a good question . i am sure that it is five .", "short"),
        ("the answer is five , you are welcome .", "the answer is five .", "polite"),
        ("five", "i do not know that .", "right"),
    ],
)
def test_the_rubric_decides_and_why_names_its_criterion(
    assistant: Assistant, better: str, worse: str, why: str
) -> None:
    pair = ratings.pair(QUESTION, better, worse)
    rating = rate(assistant, pair, 5, 0.0, seed=0)
    assert (getattr(rating, rating.choice), rating.why) == (better, why)
    assert (rating.rater, rating.simulated, rating.flip_rate) == ("simulated-0.00", True, 0.0)


def test_where_nothing_is_right_the_refusal_is(assistant: Assistant) -> None:
    pair = ratings.pair("what is two modulo three ?", "the answer is two , you are welcome .", "i do not know that .")
    rating = rate(assistant, pair, None, 0.0, seed=0)
    assert (getattr(rating, rating.choice), rating.why) == ("i do not know that .", "right")


@pytest.mark.parametrize("flip_rate", [0.1, 0.25])
def test_slips_come_at_their_rate_and_are_the_same_each_time(assistant: Assistant, flip_rate: float) -> None:
    pairs = [ratings.pair(f"question {number}", "the answer is five .", "six") for number in range(4000)]
    slips = [rate(assistant, pair, 5, flip_rate, seed=1) for pair in pairs]
    share = sum(getattr(one, one.choice) == "six" for one in slips) / len(pairs)
    # Four standard deviations.
    assert abs(share - flip_rate) < 4 * (flip_rate * (1 - flip_rate) / len(pairs)) ** 0.5
    assert Counter(one.why == SLIP for one in slips)[True] == round(share * len(pairs))
    assert slips == [rate(assistant, pair, 5, flip_rate, seed=1) for pair in pairs]
    assert slips != [rate(assistant, pair, 5, flip_rate, seed=2) for pair in pairs]


def test_a_coin_decides_where_the_rubric_is_indifferent(assistant: Assistant) -> None:
    # Two wrong numbers in one form; a rater that always took A would teach the side.
    pairs = [ratings.pair(f"question {number}", "the answer is six .", "the answer is two .") for number in range(400)]
    tossed = [rate(assistant, pair, 5, 0.0, seed=0) for pair in pairs]
    assert {one.why for one in tossed} == {COIN}
    assert 160 < sum(one.choice == "A" for one in tossed) < 240
