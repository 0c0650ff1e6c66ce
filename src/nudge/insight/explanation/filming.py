"""One example at the snapshots of a run: from noise to right."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nudge.data import tokenizer
from nudge.insight.explanation import surprise
from nudge.model.generation import greedy
from nudge.model.saved import Saved

LONGEST = 8  # tokens of an answer that are shown; a model that knows nothing goes on to the end of its context


@dataclass(frozen=True)
class Given:
    """What a model answers.

    Attributes:
        text: the most probable token, and again, to the end token or, with "…" behind, until `LONGEST`.
        probability: of exactly this.
        ended: whether it came to an end.
    """

    text: str
    probability: float
    ended: bool


@dataclass(frozen=True)
class Frame:
    """One example at one step.

    Attributes:
        step: optimiser steps taken.
        answer: what the model is held against: a right answer where one is known; None if there is nothing.
        surprisal: of this answer, its end included, in nats; None if there is none.
        given: what the model would answer.
        right: whether that is the answer; None if there is none.
    """

    step: int
    answer: str | None
    surprisal: float | None
    given: Given
    right: bool | None


def answer(model: Saved, question: str) -> Given:
    """Return what a model puts after a question."""
    prompt = tokenizer.prompt_ids(model.tokenizer, question)
    (found,) = greedy(model.model, [prompt], tokenizer.END_ID, LONGEST)
    text = model.tokenizer.decode(list(found.ids))
    return Given(text if found.ended else f"{text} …", math.exp(found.log_probability), found.ended)


def film(snapshots: Iterable[tuple[int, Saved]], question: str, expected: str | None) -> Iterator[Frame]:
    """Ask each snapshot the same question.

    Args:
        snapshots: steps and models.
        question: what stands before the answer; may be empty.
        expected: the answer to hold theirs against.
    """
    for step, model in snapshots:
        given = answer(model, question)
        if expected is None:
            yield Frame(step, None, None, given, None)
            continue
        ids = surprise.encode(f"{question} {expected}", model, whole=True)
        asked = len(tokenizer.prompt_ids(model.tokenizer, question))
        surprisal = sum(token.surprisal for token in surprise.read(model, ids, 1).tokens[asked - 1 :])
        yield Frame(step, expected, surprisal, given, given.ended and given.text == expected)
