"""When each of the four things appears: one measure of each hypothesis at every snapshot, beside loss and accuracy."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from nudge.data.tokenizer import END_ID
from nudge.insight.hypotheses import ablation, attention, held_numbers, operations, order
from nudge.insight.hypotheses.answering import answering, lens
from nudge.insight.questions import Questions, answered
from nudge.model.saved import Saved

# One number a hypothesis, each the measure that its first criterion rests on.
MEASURES = {
    "attention patterns": "attention to the operands above uniform, the head that does it most",
    "number representations": "correlation of the words' distances with the numbers', mean over classes",
    "operation semantics": "answers that become the other operation's with its first layer's attention put in",
    "output mapping": "right word first after the last layer, more often than after the embeddings",
}
HALF = 0.5


def timeline(film: Iterable[tuple[int, Saved]], questions: Questions, seed: int) -> dict[str, Any]:
    """Measure every snapshot.

    Args:
        film: steps and models, in order.
        questions: facts to measure on, unseen in training.
        seed: chooses the pairs of questions between which states are exchanged.

    Returns:
        `points`: a row a snapshot with `step`, `exact_match` and each hypothesis' measure; `appears`: for each
        hypothesis and for `exact_match` the first step from which it stays above half of what it is at the end,
        null if it is not positive at the end; `measures`: what each number is.
    """
    measured: dict[str, Callable[[Saved], float]] = {
        "attention patterns": lambda model: _attention(model, questions),
        "number representations": lambda model: _numbers(model, questions),
        "operation semantics": lambda model: operations.carried_over(model, questions, seed),
        "output mapping": lambda model: _output(model, questions),
    }
    points = [
        {"step": step, "exact_match": float(answered(model.model, questions).double().mean())}
        | {name: measure(model) for name, measure in measured.items()}
        for step, model in film
    ]
    return {
        "points": points,
        "appears": {name: appears(points, name) for name in ("exact_match", *MEASURES)},
        "measures": MEASURES,
    }


def appears(points: list[dict[str, Any]], name: str) -> int | None:
    """Return the first step from which a measure stays above half of its last value; None if that is not above 0."""
    last = points[-1][name]
    if not last > 0:
        return None
    low = [number for number, point in enumerate(points) if not point[name] > HALF * last]
    return int(points[low[-1] + 1 if low else 0]["step"])


def _attention(model: Saved, questions: Questions) -> float:
    looks_BLHR, uniform_BR = ablation.looks(ablation.observe(model.model, questions))
    operands = [ablation.SEEN.index(role) for role in attention.OPERANDS]
    above_BLH = (looks_BLHR - uniform_BR[:, None, None])[..., operands].sum(-1)
    return float(above_BLH.mean(0).max())


def _numbers(model: Saved, questions: Questions) -> float:
    held = held_numbers.words(model, questions).values()
    return float(np.mean([order.correlation(one.vectors_NW, one.numbers_N, "cosine") for one in held]))


@torch.inference_mode()
def _output(model: Saved, questions: Questions) -> float:
    states = answering(model.model, questions)
    first_SN = lens(model.model, states.stream_SND[[0, -1]]).argmax(-1) == states.right_N
    said_N = states.right_N != END_ID  # that an answer ends is learned long before what it is
    begin, end = first_SN[:, said_N].double().mean(1).tolist()
    return float(end - begin)
