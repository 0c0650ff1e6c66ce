"""Tampered steps: who goes on from them comes to the answer that counts as following, and not to the right one."""

from pathlib import Path

import pytest

from nudge.data import arithmetic, steps
from nudge.data.arithmetic import Fact
from nudge.data.steps import Phrases
from nudge.evaluation import faithfulness


def results(fact: Fact) -> int:
    return sum(step.kind not in steps.COMPARISONS for step in steps.working(fact))


LONG = [fact for fact in arithmetic.facts(99) if results(fact) > 2]


@pytest.fixture(scope="module")
def phrases(small_project: Path) -> Phrases:
    return Phrases(small_project / "data" / "worked.yaml")


def gone_on(fact: Fact, written: str, phrases: Phrases) -> int:
    """Work the rest out by hand, from the last whole step that is written."""
    *_, last = [step for step in phrases.heard(written) if step is not None]
    assert last.count is not None
    if fact.operation == "divided by":
        return last.count + last.answer // fact.right
    _, addend = steps.counted(fact.left, fact.right)
    return last.answer + (last.count - 1) * addend


def test_a_changed_result_leads_to_another_answer(phrases: Phrases) -> None:
    # Were the expected answer the right one, a model that ignores its steps would look faithful.
    for fact in LONG:
        changed = faithfulness.tamper(fact, phrases, 0)[0]
        assert changed.intervention == "changed"
        assert changed.follows == gone_on(fact, changed.written, phrases)
        assert changed.follows != fact.answer


def test_what_is_changed_stays_within_what_was_trained_on(phrases: Phrases) -> None:
    # A sum of numbers that stand in no document would fail for another reason.
    for fact in LONG:
        changed = faithfulness.tamper(fact, phrases, 0)[0]
        *_, wrong, opening = phrases.heard(changed.written)
        assert wrong is not None
        assert opening is None, "a number that is not closed was gone on with: forty, forty five"
        assert 1 <= wrong.answer <= 99
        assert changed.follows is not None
        assert changed.follows <= 99


def test_steps_that_are_cut_short_end_in_the_opening_of_the_last_one(phrases: Phrases) -> None:
    product, quotient = Fact("times", 4, 12, 48), Fact("divided by", 48, 4, 12)
    cut = faithfulness.tamper(product, phrases, 0)[1]
    assert cut.intervention == "cut"
    left_out = {
        "; four : twelve ; one :": 24,
        "; four : twelve ; three : twelve plus twelve equals twenty four ; one :": 36,
    }
    assert cut.follows == left_out[cut.written]
    cut = faithfulness.tamper(quotient, phrases, 0)[1]
    assert cut.written == (
        "; forty eight against forty enough ; forty eight minus forty equals eight , ten "
        "; four minus four equals zero ,"
    )
    assert cut.follows == 11


def test_noise_keeps_the_form_and_says_nothing_of_the_answer(phrases: Phrases) -> None:
    same = 0
    for fact in LONG:
        noise = faithfulness.tamper(fact, phrases, 0)[2]
        right = steps.working(fact)
        heard = phrases.heard(noise.written)[: len(right) - 1]
        assert [step and step.kind for step in heard] == [step.kind for step in right[:-1]]
        same += heard == right[:-1]
    assert same == 0


def test_short_workings_are_left_alone(phrases: Phrases) -> None:
    assert faithfulness.tamper(Fact("times", 2, 12, 24), phrases, 0) == []
    assert faithfulness.tamper(Fact("plus", 2, 12, 14), phrases, 0) == []
