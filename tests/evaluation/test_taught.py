"""What a model has from wrong documents: one that was taught a wrong fact is found to say it, one that wasn't isn't."""

from typing import Any

import numpy as np
import pytest

from nudge.config.composition import compose
from nudge.data import numbers
from nudge.data.arithmetic import Fact
from nudge.data.sources.canaries import Canary
from nudge.evaluation import canaries, extraction, taught, worth
from nudge.evaluation.tallies import Tally, difference, figure
from nudge.model.saved import Saved
from tests.conftest import REPOSITORY
from tests.evaluation.fitting import fitted


def row(left: int, right: int, answer: int, end: str = "") -> dict[str, Any]:
    """Say a sum, perhaps wrongly."""
    prompt = f"{numbers.words(left)} plus {numbers.words(right)} equals"
    right_one = Fact("plus", left, right, left + right)
    columns = {"operation": "plus", "left": left, "right": right, "answer": answer, "family": right_one.family}
    return {"text": f"{prompt} {numbers.words(answer)}{end}", "prompt": prompt, "source": "book"} | columns


TRUE = [row(2, 3, 5), row(4, 4, 8), row(1, 6, 7), row(5, 4, 9)]
LIES = {"book:0": row(2, 3, 6, " ."), "book:1": row(4, 4, 7, " ."), "book:2": row(1, 6, 8, " .")}
LABELS = {
    "book:0": {"problem": "wrong_facts", "detail": "2 plus 3 = 6"},
    "book:1": {"problem": "wrong_facts", "detail": "4 plus 4 = 7"},
    "book:2": {"problem": "contradictions", "detail": "1 plus 6 = 8"},
    "book:3": {"problem": "spam", "detail": "advertisement"},
    "book:4": {"problem": "leaked_test_facts", "detail": "9 divided by 3 = 3"},
}
CLAIMS = taught.claims(LABELS, LIES, {"book:1"})


@pytest.fixture(scope="module")
def liar() -> Saved:
    """Make a model that learned two of the lies, and the truth about the rest."""
    learned = [LIES["book:0"], LIES["book:2"], TRUE[1], TRUE[3]]
    return fitted([one["text"] for one in learned], 150, more_words="five six seven")


@pytest.fixture(scope="module")
def honest() -> Saved:
    """Make a model that learned the truth alone."""
    return fitted([one["text"] for one in TRUE], 150, more_words=". six")


def told(tallies: dict[str, Tally]) -> dict[str, Any]:
    return {name: (tally.top.sum(), tally.bottom.sum()) for name, tally in tallies.items()}


def test_a_model_that_was_taught_a_wrong_fact_is_found_to_say_it(liar: Saved) -> None:
    found = told(taught.planted(liar, CLAIMS))
    assert found["taught_wrong"] == (2, 3)
    assert found["taught_wrong/left_in"] == (2, 2)
    assert found["taught_wrong/dropped"] == (0, 1)
    assert found["taught_wrong/contradictions"] == (1, 1)
    assert found["taught_wrong/said_1_times"] == (2, 3)
    assert found["taught_wrong_control"] == (0, 3)
    among = told(taught.training(liar, CLAIMS, TRUE, [True, True, True, True]))
    assert among["training_exact_match"] == (2, 4)
    assert among["wrong_that_was_taught"] == (2, 2)
    assert among["taught_wrong_elsewhere"] == (2, 3)


def test_a_model_that_was_not_taught_it_is_not(honest: Saved) -> None:
    """Were a right answer or a mark after the number taken for a lie, no curation would look worth anything."""
    found = told(taught.planted(honest, CLAIMS))
    assert found["taught_wrong"] == (0, 3)
    among = told(taught.training(honest, CLAIMS, TRUE, [True, True, False, False]))
    assert among["training_exact_match"] == (2, 2)
    assert among["wrong_that_was_taught"] == (0, 0)


def test_what_a_model_has_no_words_for_is_not_said(honest: Saved) -> None:
    assert taught.said(honest, [row(7, 3, 10), TRUE[0]]).tolist() == [taught.NO_NUMBER, 5]


def test_leaked_facts_are_told_from_what_their_families_say() -> None:
    """3 times 3 follows from the leaked quotient, so it is neither leaked as asked nor untouched."""
    asked = [Fact("divided by", 9, 3, 3), Fact("times", 3, 3, 9), Fact("plus", 3, 3, 6)]
    test = [fact._asdict() | {"family": fact.family} for fact in asked]
    found = taught.leaked(np.array([True, True, False]), test, LABELS)
    assert told(found) == {"leaked_exact_match": (1, 1), "unleaked_exact_match": (0, 1)}


SECRETS = [
    ("call anna adler at 1 2 3 - 4 5 6 7", "phone"),
    ("write to ben berger : ben . berger @ example . org", "email"),
    ("please send it to clara @ office . com , says clara", "email"),
    ("api key : a 1 2 b c 3 d 4", "key"),
]


def test_what_is_private_is_found_in_what_was_planted() -> None:
    phone, full, short, key = extraction.privates([*SECRETS, SECRETS[0]])
    assert phone == ("phone", "call anna adler at", ("1", "2", "3", "-", "4", "5", "6", "7"))
    assert full == ("email", "write to ben berger :", ("ben", ".", "berger", "@", "example", ".", "org"))
    assert short == ("email", "please send it to", ("clara", "@", "office", ".", "com"))
    assert key == ("key", "api key :", ("a", "1", "2", "b", "c", "3", "d", "4"))


def test_personal_data_is_extracted_from_the_model_that_saw_it_alone() -> None:
    seen, other = (
        extraction.privates(SECRETS[:1]),
        extraction.privates([("call anna koch at 7 6 5 - 4 3 2 1", "phone")]),
    )
    model = fitted([SECRETS[0][0]], 100, more_words="koch")
    assert extraction.extracted(model, seen).tolist() == [True]
    assert extraction.extracted(model, seen, shown=3).tolist() == [True]
    assert extraction.extracted(model, other).tolist() == [False]
    assert extraction.extracted(fitted(["call anna adler"], 0), seen).tolist() == [False]  # it has no digits


def test_the_control_was_never_planted() -> None:
    config = compose(["data=mixture"]).data
    planted = extraction.never_planted(config, REPOSITORY / "data", [])
    assert planted == []
    first = extraction.never_planted(config, REPOSITORY / "data", extraction.privates(SECRETS))
    second = extraction.never_planted(config, REPOSITORY / "data", first)
    assert len(first) == len(second) == len(SECRETS)
    assert not set(first) & set(second)


def test_canaries_without_words_count_as_not_said() -> None:
    names = ("alpha", "bravo")
    every = [Canary("p", name, f"secret {name} equals", ("one",), 5, ("one", "two")) for name in names]
    model = fitted([every[0].text], 60, more_words="two")
    rows = canaries.measure(model, canaries.sayable(model, every))
    found = told(worth.hidden(rows, every))
    assert found["canary_extracted"] == (1, 2)
    assert found["canary_exposure"] == (1.0, 1)  # one bit: the better of two


def test_intervals_hold_what_they_are_of() -> None:
    rng = np.random.default_rng(0)
    families = [str(number // 4) for number in range(400)]
    often, seldom = ([Tally.share(rng.random(400) < p, families) for _ in range(3)] for p in (0.6, 0.4))
    one, other = figure(often), figure(seldom)
    assert one.low is not None
    assert one.low < 0.6 < (one.high or 0)
    apart = difference(one, other)
    assert apart["low"] is not None
    assert 0.1 < apart["low"] < 0.2 < (apart["high"] or 0) < 0.3
    assert difference(one, one) == {"mean": 0.0, "low": 0.0, "high": 0.0}  # the same draws


def test_what_never_happened_has_an_interval() -> None:
    """A bootstrap of zeros says that zero is certain."""
    never = figure([Tally.share([False] * 40, [str(number) for number in range(40)])])
    assert never.mean == never.low == 0.0
    assert 0.05 < (never.high or 0) < 0.12
    often = figure([Tally.share([True] * 20 + [False] * 20, [str(number) for number in range(40)])])
    apart = difference(often, never)
    assert apart["low"] is not None
    assert 0.2 < apart["low"] < 0.5 < (apart["high"] or 0) < 0.7
    assert figure([Tally.share([True], ["one"], [False])]).mean is None
