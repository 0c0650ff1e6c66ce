"""Bits are what was learned by heart: none before training, all of them after, and none of what was not seen."""

import math
import random

import numpy as np
import pytest

from nudge.data import numbers
from nudge.evaluation import answers, capacity
from nudge.evaluation.answers import Scored
from tests.evaluation.fitting import fitted


def fact(left: int, right: int, answer: int, operation: str = "plus") -> dict[str, object]:
    prompt = f"{numbers.words(left)} {operation} {numbers.words(right)} equals"
    text = f"{prompt} {numbers.words(answer)}"
    return {"text": text, "prompt": prompt, "operation": operation, "left": left, "right": right, "answer": answer}


def shuffled() -> list[dict[str, object]]:
    pairs = [(left, right) for left in range(8) for right in range(8)]
    said = [left + right for left, right in pairs]
    random.Random(0).shuffle(said)
    return [fact(left, right, answer) for (left, right), answer in zip(pairs, said, strict=True)]


def test_certainty_is_worth_the_surprise_of_the_best_guess() -> None:
    # 16 answers, each once: 4 bits a fact. One answer always: nothing to know.
    rows = [fact(left, 0, left) for left in range(16)] + [fact(left, 1, 5, "times") for left in range(4)]
    known = Scored(rows, np.zeros(20), np.ones(20, dtype=bool))
    assert capacity.bits(known, rows) == pytest.approx([4.0] * 16 + [0.0] * 4)
    guessed = Scored(rows[:16], np.full(16, math.log(16)), np.zeros(16, dtype=bool))
    assert capacity.bits(guessed, rows) == pytest.approx([0.0] * 16)


def test_what_is_learned_by_heart_counts_and_what_was_never_seen_does_not() -> None:
    rows = shuffled()
    seen, unseen = rows[:48], rows[48:]
    model = fitted([str(row["text"]) for row in seen], steps=250, more_words=" ".join(str(row["text"]) for row in rows))
    found = capacity.measure(answers.score(model, seen), answers.score(model, unseen), rows, model.model)
    assert found["train"]["right"] == 48
    assert found["gap"] > 0.5
    # The entropy of a sum of two even digits below 8, weighted as the 48 have it.
    count = {total: sum(row["answer"] == total for row in rows) for total in range(15)}
    expected = sum(-math.log2(count[int(str(row["answer"]))] / 64) for row in seen)
    assert found["bits_possible"] == pytest.approx(expected)
    assert found["bits"] == pytest.approx(expected, rel=0.05)
    assert found["bits"] <= expected
    assert found["control_bits_per_fact"]["high"] < 0, "sure of what it can't know, it does worse than a guess"
    assert found["weights"] == sum(weight.numel() for weight in model.model.parameters())
    assert found["bits_per_weight"] == found["bits"] / found["weights"]


def test_random_weights_hold_nothing() -> None:
    rows = shuffled()
    model = fitted([str(row["text"]) for row in rows], steps=0)
    found = capacity.measure(answers.score(model, rows[:48]), answers.score(model, rows[48:]), rows, model.model)
    assert found["bits"] < 0
    assert found["bits_per_fact"]["high"] < 0


def test_learning_by_heart_takes_time() -> None:
    rows = shuffled()
    texts = [str(row["text"]) for row in rows]
    found = capacity.by_heart(iter([(0, fitted(texts, 0)), (250, fitted(texts, 250))]), rows)
    assert [(row["step"], row["count"]) for row in found] == [(0, 64), (250, 64)]
    assert found[0]["right"] < 15
    assert found[1]["right"] > 60
