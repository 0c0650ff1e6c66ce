"""Number representations: known arrangements are found, unknown ones refused, and three models judged."""

import json

import numpy as np
import pytest

from nudge.insight.hypotheses import held_numbers, numbers, order, probes, removal
from nudge.insight.hypotheses.asking import Asking
from nudge.model.saved import Saved
from nudge.model.saved import untrained as untrained_of
from tests.insight.conftest import Learned

N = np.arange(100)


def directions(count: int, width: int = 32) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(1).normal(size=(width, count)))[0].T


def test_a_line_is_in_order_and_its_exchange_is_not() -> None:
    """Guards the pairing of distances with numbers, and the p of an arrangement that means nothing."""
    line = N[:, None] * directions(1)
    assert order.order(line, N, "euclidean").correlation == pytest.approx(1)
    assert order.order(line, N, "euclidean").p == 0.001
    exchanged = order.order(np.random.default_rng(0).permutation(line), N, "euclidean")
    assert abs(exchanged.correlation) < 0.1
    assert exchanged.p > 0.05
    assert order.resampled(line, N, "euclidean") == pytest.approx(np.ones(1000))


def test_probes_read_digits_of_numbers_they_never_saw() -> None:
    """Guards the split over numbers: digits written side by side generalise, a code for each number does not."""
    digits = np.concatenate([np.eye(10)[N // 10], np.eye(10)[N % 10]], axis=1)
    probed = probes.probe(digits, N)
    assert [probed.score(target) for target in probes.TARGETS] == pytest.approx([1, 1, 1], abs=0.02)
    assert max(probed.control.values()) < 0.25
    alone = probes.probe(np.eye(100), N)
    assert alone.score("magnitude") < 0.01
    assert max(alone.score("tens"), alone.score("ones")) < 0.2


def test_removal_takes_the_order_and_the_control_as_much_of_anything() -> None:
    """Guards the control: as many dimensions and as much variance, but the order stays readable."""
    generator = np.random.default_rng(0)
    ordered, other = removal.helix(N) / [30, 1, 1, 1, 1], generator.normal(size=(100, 5))
    states = 2 * np.hstack([ordered, other]) @ directions(10) + 0.3 * generator.normal(size=(100, 32))
    taken = removal.carrying(states, removal.helix(N))
    without = states - (states - states.mean(0)) @ taken @ taken.T
    covariance = (without - without.mean(0)).T @ (removal.helix(N) - removal.helix(N).mean(0))
    assert covariance == pytest.approx(np.zeros((32, 5)), abs=1e-6)
    assert probes.probe(without, N).score("magnitude") < 0.01
    for control in removal.at_random(states, taken, 3, generator):
        assert control.T @ control == pytest.approx(np.eye(5), abs=1e-9)
        assert removal.share(states, control) == pytest.approx(removal.share(states, taken), abs=1e-4)
        rest = states - (states - states.mean(0)) @ control @ control.T
        assert probes.probe(rest, N).score("magnitude") > 0.4


def test_states_are_those_of_the_operands_last_words(little: Learned) -> None:
    """Guards the positions: before the first layer a number's state is the embedding of its last word."""
    questions = little.questions("test")
    held = held_numbers.composed(little.saved, questions)
    embeddings = little.saved.model.model.embed_tokens.weight.detach().double()
    vocabulary = little.saved.tokenizer.get_vocab()
    for side in held_numbers.OPERANDS:
        vectors = dict(zip(held[side][0].numbers_N.tolist(), held[side][0].vectors_NW, strict=True))
        for number, word in ((7, "seven"), (27, "seven"), (13, "thirteen"), (20, "twenty")):
            assert vectors[number] == pytest.approx(embeddings[vocabulary[word]].numpy())
    assert set(held["left"]) == {0, 2, 4}


def test_questions_can_be_said_that_no_split_holds(little: Learned) -> None:
    """Guards the words taken from the questions: a corpus' own rows must come out as they are written."""
    asking = Asking(little.questions("test"))
    for row in little.splits["train"][::50]:
        said = asking.row(row["operation"], row["left"], row["right"])
        assert said is not None
        assert (said["text"], said["prompt"], said["family"]) == (row["text"], row["prompt"], row["family"])
    assert asking.row("minus", 2, 3) is None


def test_the_finding_is_whole_and_can_be_written(little: Learned, untrained: Saved) -> None:
    """Guards the report: every table has rows of both models, and nothing that JSON can't hold."""
    finding = numbers.test(little.saved, untrained, little.questions("test"), 0)
    assert finding.hypothesis == "number representations"
    json.dumps(finding.details, allow_nan=False)
    for table in ("order", "probes", "spectrum", "pictures"):
        assert {row["model"] for row in finding.details[table]} == {"trained", "untrained"}
    fall = next(figure for figure in finding.figures if figure.name.startswith("fall of exact match without the helix"))
    # A model that answers must lose something when a part of its operands goes.
    assert fall.value > 0.05
    assert fall.low > 0
    assert fall.n == len(little.questions("test"))


def test_a_model_that_learned_nothing_is_not_supported(untrained: Saved, little: Learned) -> None:
    """Guards the verdict: random weights have neither order nor use for it."""
    finding = numbers.test(untrained, untrained, little.questions("test"), 0)
    assert finding.verdict == "not supported"


def test_a_model_of_random_answers_is_not_supported(shuffled: Learned) -> None:
    """Guards the verdict: that left is never less than right teaches an order, but no held-out answer depends on it."""
    finding = numbers.test(shuffled.saved, untrained_of(shuffled.saved), shuffled.questions("test"), 0)
    assert finding.verdict == "not supported"
    assert finding.criteria[2].figure.high <= numbers.MATTERS


def test_too_few_numbers_decide_nothing(little: Learned, untrained: Saved) -> None:
    """Guards small corpora: probes need two decades, and a verdict on nothing is none."""
    few = little.questions("train")
    few = few.where((few.column("left") < 10) & (few.column("right") < 10))
    assert numbers.test(little.saved, untrained, few, 0).verdict == "inconclusive"
