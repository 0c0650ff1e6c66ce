"""Operation semantics: patches with a known effect, and three models judged."""

import json

import pytest
import torch

from nudge.insight.hypotheses import carrying, operations, pairs, patching
from nudge.insight.hypotheses.asking import Asking
from nudge.insight.hypotheses.pairs import Pairs
from nudge.insight.hypotheses.patching import ANSWERING, Place
from nudge.insight.questions import Questions
from nudge.model.internals import trace
from nudge.model.saved import Saved
from nudge.model.saved import untrained as untrained_of
from tests.insight.conftest import Learned


@pytest.fixture(scope="module")
def both(little: Learned) -> Pairs:
    """Give pairs of plus and minus."""
    questions = little.questions("test")
    rows = [row for row in questions.rows if row["operation"] in ("plus", "minus")]
    drawn = pairs.drawn(little.saved.tokenizer, rows, pairs.instead(Asking(questions), "plus", "minus"), 60, 0)
    assert len(drawn) > 20
    return drawn


def test_pairs_differ_in_one_token_and_in_the_answer(both: Pairs) -> None:
    """Guards the layout: a patch at a position that means something else in the other prompt shows nothing."""
    base, other = Questions.of(both.tokenizer, both.base), Questions.of(both.tokenizer, both.other)
    width = int(base.prompt_B.max())
    differs_NT = base.tokens_BT[:, :width] != other.tokens_BT[:, :width]
    asked_NT = torch.arange(width) < base.prompt_B[:, None]
    assert torch.equal(differs_NT & asked_NT, base.has("operator")[:, :width])
    assert all(one["answer"] != two["answer"] for one, two in zip(both.base, both.other, strict=True))
    assert all(one["operation"] != two["operation"] for one, two in zip(both.base, both.other, strict=True))


def test_the_differing_token_is_the_first_of_the_two_answers(both: Pairs) -> None:
    """Guards the position: of "twenty one" and "twenty" it is the second, where one goes on and the other ends."""
    at_N, own_N, target_N = both.differing()
    for place, (one, two) in enumerate(zip(both.base, both.other, strict=True)):
        own, target = (both.tokenizer.encode(row["text"]).ids for row in (one, two))
        position = int(at_N[place]) + 1
        answer = len(one["prompt"].split()) + 1
        assert own[answer:position] == target[answer:position]
        assert (own[position], target[position]) == (int(own_N[place]), int(target_N[place]))
        assert own[position] != target[position]


@pytest.mark.parametrize("which", ["little", "untrained"])
def test_the_last_stream_where_the_answer_is_said_carries_all(
    which: str, both: Pairs, request: pytest.FixtureRequest
) -> None:
    """Guards the scale: it is the other prompt's state, so the share is 1, and the logits are exactly the other's."""
    found = request.getfixturevalue(which)
    model = (found if isinstance(found, Saved) else found.saved).model
    last, first = Place("stream.4", ANSWERING), Place("stream.0", "operator", 0)
    nothing, unread = Place("stream.0", "begin"), Place("stream.4", "operator")
    shares = carrying.effect(model, both, [[last], [first], [nothing], [unread]]).shares()
    assert shares == pytest.approx([1, 1, 0, 0], abs=1e-5)
    base, other = both.forced(both.base, both.other), both.forced(both.other, both.other)
    with torch.inference_mode():
        source = trace(model, other.tokens_BT)
        logits_NTV = patching.patched(model, base, source, [[last]])[0]
    assert torch.equal(logits_NTV[base.asked_BT], source.logits_BTV[base.asked_BT])


def test_all_heads_of_a_layer_are_its_attention(little: Learned, both: Pairs) -> None:
    """Guards the places of single heads: both heads together must be what their layer's attention is."""
    heads = [Place("head.0.0", ANSWERING), Place("head.0.1", ANSWERING)]
    together = carrying.effect(little.saved.model, both, [heads, [Place("attention.0", ANSWERING)], heads[:1]]).shares()
    assert together[0] == pytest.approx(together[1], abs=1e-5)
    assert together[2] != pytest.approx(together[1], abs=1e-3)


def test_sets_tried_together_are_as_alone(little: Learned, both: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the batching of sets and pairs into one pass."""
    sets = [[Place("mlp.0", ANSWERING)], [Place("mlp.1", ANSWERING), Place("head.0.0", "right", 0)], []]
    together = carrying.effect(little.saved.model, both, sets).shares()
    monkeypatch.setattr(patching, "ROWS", 1)
    alone = carrying.effect(little.saved.model, both, sets).shares()
    assert together == pytest.approx(alone, abs=1e-6)
    assert together[2] == 0


def test_a_patched_answer_is_what_generation_gives(little: Learned, both: Pairs) -> None:
    """Guards scoring in one pass: the operator's embedding makes it the other question, so answers are that one's."""
    operator = [Place("stream.0", "operator", 0)]
    became = carrying.become(little.saved.model, both, operator, both.other, both.other)
    with torch.inference_mode():
        for place in range(0, len(both), 5):
            prompt = torch.tensor([both.tokenizer.encode(both.other[place]["text"]).ids])
            length = len(both.other[place]["prompt"].split()) + 1
            said = prompt[:, :length]
            while said.shape[1] < prompt.shape[1]:
                said = torch.cat([said, little.saved.model(said)[:, -1:].argmax(-1)], dim=1)
            assert bool(became[place]) == torch.equal(said, prompt)


def test_the_finding_is_whole_and_can_be_written(little: Learned, untrained: Saved) -> None:
    """Guards the report, and that the difference of two questions is found to sit somewhere."""
    finding = operations.test(little.saved, untrained, little.questions("validation", "test"), 0)
    json.dumps(finding.details, allow_nan=False)
    assert finding.hypothesis == "operation semantics"
    assert {row["swap"] for row in finding.details["map"]} >= {"plus and minus", "left operand", "right operand"}
    assert finding.criteria[0].figure.value > 0.5
    assert all(0 < row["share"] < 1.2 for row in finding.details["sets"])
    sums = {row["site"]: row["share"] for row in finding.details["map"] if row["position"] == ANSWERING}
    assert sums["stream.4"] == pytest.approx(1, abs=1e-5)
    assert operations.carried_over(little.saved, little.questions("test"), 0) >= 0


def test_a_model_that_learned_nothing_is_not_supported(little: Learned, untrained: Saved) -> None:
    """Guards the verdict: shares of a difference are 1 somewhere in any model, so the answers must decide."""
    finding = operations.test(untrained, untrained, little.questions("validation", "test"), 0)
    assert finding.verdict == "not supported"


def test_a_model_of_random_answers_is_not_supported(shuffled: Learned) -> None:
    """Guards the verdict: such a model tells plus from minus, but no answer follows from it."""
    questions = shuffled.questions("validation", "test")
    finding = operations.test(shuffled.saved, untrained_of(shuffled.saved), questions, 0)
    assert finding.verdict == "not supported"


def test_no_pairs_decide_nothing(little: Learned, untrained: Saved) -> None:
    """Guards corpora of one operation."""
    questions = little.questions("test")
    sums = questions.where(questions.column("operation") == "plus")
    assert operations.test(little.saved, untrained, sums, 0).verdict == "inconclusive"
