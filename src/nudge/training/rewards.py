"""What an answer is worth to the algorithm that learns from it: a reward model's score, the rubric, or pure chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from tokenizers import Tokenizer

from nudge.data import steps
from nudge.data.chat import Assistant
from nudge.data.rubric import gold
from nudge.data.tokenizer import END_ID
from nudge.errors import RunError, UserError
from nudge.model import saved
from nudge.model.reward import RewardModel, scores
from nudge.training import reference


@dataclass(frozen=True)
class Answered:
    """What was said to a question.

    Attributes:
        question: as a person reads it, alone.
        prompt: its token ids.
        ids: of the answer, without the end token.
        ended: whether the end token was said.
        text: the answer as a person reads it.
        expected: the right number; None where the refusal is right.
    """

    question: str
    prompt: Sequence[int]
    ids: Sequence[int]
    ended: bool
    text: str
    expected: int | None


class Reward(Protocol):
    """Judge answers."""

    @property
    def name(self) -> str:
        """Return what a person calls it."""

    def __call__(self, answers: Sequence[Answered], generator: torch.Generator) -> Sequence[float | None]:
        """Return what each answer is worth; `generator` is for those that draw."""


@dataclass(frozen=True)
class Gold:
    """The written rubric without noise; an answer that did not end is none."""

    assistant: Assistant
    name: str = "gold"

    def __call__(self, answers: Sequence[Answered], generator: torch.Generator) -> list[float]:
        """Return the rubric's totals."""
        return [
            gold(self.assistant, one.question, one.text if one.ended else "", one.expected).total for one in answers
        ]


class FinalAnswer:
    """Of an answer that was worked out: 1 if its last number is right, whatever the steps, else 0."""

    name = "final answer"

    def __call__(self, answers: Sequence[Answered], generator: torch.Generator) -> list[float]:
        """Read the last numbers."""
        return [float(is_worked_out(one)) for one in answers]


def is_worked_out(one: Answered) -> bool:
    """Say whether an answer ended, and the last number in it is right."""
    return one.ended and one.expected is not None and steps.final(one.text) == one.expected


class Random:
    """A standard normal number for each answer: the control that can teach nothing."""

    name = "random"

    def __call__(self, answers: Sequence[Answered], generator: torch.Generator) -> list[float]:
        """Draw."""
        return torch.randn(len(answers), generator=generator).tolist()


class LearnedReward:
    """A reward model's score of the whole text.

    Args:
        name: what a person calls the model.
        model: the network.
    """

    def __init__(self, name: str, model: RewardModel) -> None:
        self.name, self.model = name, model.eval()

    def __call__(self, answers: Sequence[Answered], generator: torch.Generator) -> list[float]:
        """Score."""
        texts = [[*one.prompt, *one.ids, *([END_ID] if one.ended else [])] for one in answers]
        return scores(self.model, texts).tolist()


def gold_of(assistant: Assistant | None) -> Reward:
    """Return what an answer is really worth: by the assistant's rubric, or worked out without one."""
    return FinalAnswer() if assistant is None else Gold(assistant)


def find(name: str, assistant: Assistant | None, words: Tokenizer) -> Reward:
    """Return the reward of a name: "gold", "random", or a reward model.

    Raises:
        UserError: there is no such model, or it is of another vocabulary.
    """
    if name == "gold":
        return gold_of(assistant)
    if name == "random":
        return Random()
    found = saved.load_reward(reference.find(name))
    there, here = saved.vocabulary_digest(found.tokenizer), saved.vocabulary_digest(words)
    if there != here:
        raise UserError(
            f"stage.reward={name}: is of a vocabulary of {found.model.vocabulary} words ({there}), the policy of "
            f"{words.get_vocab_size()} ({here}); take both from one chain"
        )
    return LearnedReward(name, found.model)


def checked(reward: Reward, answers: Sequence[Answered], generator: torch.Generator) -> torch.Tensor:
    """Return the reward of each answer, [A].

    Raises:
        RunError: one of them is None or no finite number; it names the reward and the answer.
    """
    values = reward(answers, generator)
    for value, one in zip(values, answers, strict=True):
        if value is None or not math.isfinite(value):
            raise RunError(f"reward '{reward.name}' is {value} for the answer '{one.text}'; each needs a finite number")
    return torch.tensor([float(value) for value in values if value is not None])
