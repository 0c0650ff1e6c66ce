"""From a state to a word: the parts must sum to the logits, and confidence must be judged against what is right."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from nudge.insight.hypotheses import calibration, output
from nudge.insight.hypotheses.answering import answering, attribution, lens, without
from nudge.insight.hypotheses.output import settled_at
from nudge.insight.questions import Questions, answered
from nudge.model.decoder import Decoder
from nudge.model.saved import Saved
from tests.insight.conftest import Learned
from tests.model.test_decoder import decoder


@torch.no_grad()
@pytest.mark.parametrize("shape", [{}, {"kv_heads": 1}, {"tied": True}])
def test_contributions_sum_to_the_logits(shape: dict[str, object], little: Learned) -> None:
    questions = little.questions("test")
    for model in (decoder(embedding_std=0.5, **shape).eval(), little.saved.model):
        states = answering(model, questions)
        logits_NV = model(questions.tokens_BT)[questions.asked_BT]
        assert (lens(model, states.stream_SND[-1]) - logits_NV).abs().max() < 1e-4
        above_N = logits_NV.gather(1, states.right_N[:, None])[:, 0] - logits_NV[:, states.number_words].mean(1)
        assert (attribution(model, states).sum(0) - above_N).abs().max() < 1e-4
        assert len(states.components) == len(states.parts_CND) == 1 + 2 * (1 + model.config.heads)
        assert len(states.places) == len(states.stream_SND) == 1 + 2 * 2


def test_taking_nothing_out_changes_nothing_and_all_leaves_nothing(little: Learned) -> None:
    model, questions = little.saved.model, little.questions("test")
    states = answering(model, questions)
    assert (without(model, states, []) - lens(model, states.stream_SND[-1])).abs().max() == 0
    assert torch.equal(states.all_right(without(model, states, [])), answered(model, questions))
    nothing_NV = without(model, states, list(range(len(states.components))))
    for group in states.group_N.unique():
        here_NV = nothing_NV[states.group_N == group]
        assert (here_NV - here_NV[0]).abs().max() < 1e-3, "without all components something of the question is left"


def test_where_an_answer_settles() -> None:
    first_SN = torch.tensor([[1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    assert settled_at(first_SN).tolist() == [0, 1, 2, 3]


def test_calibration_of_known_cases() -> None:
    rng = np.random.default_rng(0)
    one_1B = np.ones((1, 20_000))
    sure_B = rng.uniform(0, 1, 20_000)
    honest_B = rng.uniform(0, 1, 20_000) < sure_B
    assert calibration.expected_error(sure_B, honest_B, one_1B)[0] < 0.02
    assert calibration.skill(sure_B, honest_B, one_1B)[0] == pytest.approx(1 / 3, abs=0.03)  # 1 − (1/6) / (1/4)
    boasting_B = np.full(20_000, 0.99)
    half_B = np.arange(20_000) % 2 == 0
    assert calibration.expected_error(boasting_B, half_B, one_1B)[0] == pytest.approx(0.49)
    assert calibration.skill(boasting_B, half_B, one_1B)[0] < 0
    constant_B = np.full(20_000, 0.5)
    assert calibration.expected_error(constant_B, half_B, one_1B)[0] == pytest.approx(0)
    assert calibration.skill(constant_B, half_B, one_1B)[0] == pytest.approx(0)
    assert np.isnan(calibration.skill(constant_B, np.ones(20_000, dtype=bool), one_1B)[0])
    curve = calibration.reliability(sure_B, honest_B)
    assert sum(row["count"] for row in curve) == 20_000
    assert all(row["low"] - 0.02 < row["confidence"] < row["high"] + 0.02 for row in curve)


def test_confidence_is_that_of_the_given_answer(little: Learned) -> None:
    questions = little.questions("test")
    sure_B, right_B = calibration.confidence(little.saved.model, questions)
    assert np.array_equal(right_B, answered(little.saved.model, questions).numpy())
    log_p_BTV = little.saved.model(questions.tokens_BT).log_softmax(-1)
    known_BT = log_p_BTV.gather(-1, questions.next_BT[..., None])[..., 0] * questions.asked_BT
    known_B = known_BT.sum(1).exp().detach().numpy()
    assert sure_B[right_B] == pytest.approx(known_B[right_B], rel=1e-3)
    assert (sure_B[~right_B] > known_B[~right_B] * 0.5).all()


def test_verdicts(little: Learned, shuffled: Learned, untrained: Saved) -> None:
    def found(model: Decoder, questions: Questions) -> output.Finding:
        return output.test(model, untrained.model, questions, 0)

    learned = found(little.saved.model, little.questions("test"))
    assert [criterion.verdict for criterion in learned.criteria[:2]] == ["supported"] * 2, asdict(learned)["criteria"]
    assert learned.criteria[3].verdict == "supported"
    for nothing in (
        found(untrained.model, little.questions("test")),
        found(shuffled.saved.model, shuffled.questions("test")),
    ):
        assert nothing.verdict == "not supported"
        assert nothing.criteria[1].verdict == "not supported"
    settles = learned.details["settles"]
    for kind in {row["token"] for row in settles}:
        of_kind = [row for row in settles if row["token"] == kind]
        assert sum(row["count"] for row in of_kind) == of_kind[0]["of"]
