"""Answers that were worked out: whether they are right, whether their steps are, and which step failed first.

The answer is the last number that is said. A right answer after a wrong step is counted apart, as luck.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nudge import project
from nudge.config.data import DataConfig, WorkedSource
from nudge.data import arithmetic, steps
from nudge.data.arithmetic import Fact
from nudge.data.steps import Phrases, Step, Style
from nudge.evaluation.exact_match import Answered
from nudge.evaluation.intervals import share

Failure = Literal["form", "sum", "choice", "carried", "count", "stopped early", "went on"]


@dataclass(frozen=True)
class Worked:
    """One answer with its steps.

    Attributes:
        fact: what was asked.
        steps: what was said, None where it is no step.
        answer: the last number that was said; None if there is none, or the text did not end.
        failure: what is wrong with the first step that is not as it should be; None if all are.
            form: it is no step, or another kind of step. sum: its sum or difference is false. choice: it takes,
            compares or counts another number than it should, or finds enough where there is not. carried: it doesn't
            go on from what the step before came to. count: its count is wrong. stopped early, went on: steps are
            missing, or there are too many.
        sums: how many sums and differences were said.
        true_sums: how many of them are true.
    """

    fact: Fact
    steps: list[Step | None]
    answer: int | None
    failure: Failure | None
    sums: int
    true_sums: int

    @property
    def right(self) -> bool:
        """Say whether the answer is right, whatever the steps."""
        return self.answer == self.fact.answer


def read(fact: Fact, given: str, ended: bool, phrases: Phrases, style: Style = "down") -> Worked:
    """Read an answer.

    Args:
        fact: what was asked, and the right answer.
        given: what was said after the question.
        ended: whether the model ended there by itself.
        phrases: how steps are said.
        style: in which of the ways they were taught.
    """
    said = phrases.heard(given)
    stated = [step.fact for step in said if step is not None and step.fact is not None]
    true = [one for one in stated if arithmetic.compute(*one[:3]) == one.answer]
    answer = steps.final(given) if ended else None
    return Worked(fact, said, answer, failure(said, steps.working(fact, style)), len(stated), len(true))


def read_all(data: DataConfig, answers: Sequence[Answered]) -> list[Worked]:
    """Read those answers that were to be worked out."""
    found = []
    for name, source in data.sources.items():
        if isinstance(source, WorkedSource):
            phrases = Phrases(project.root() / data.path / source.file)
            for one in answers:
                if one.document["source"] == name:
                    fact = Fact(*(one.document[field] for field in Fact._fields))
                    found.append(read(fact, one.given, one.ended, phrases, source.style))
    return found


def failure(said: Sequence[Step | None], right: Sequence[Step]) -> Failure | None:
    """Say what is wrong with the first step that is not as it should be."""
    for step, expected in zip(said, right, strict=False):
        if step == expected:
            continue
        if step is None or step.kind != expected.kind:
            return "choice" if step and {step.kind, expected.kind} <= {*steps.COMPARISONS} else "form"
        if step.left != expected.left:
            return "carried"
        if step.right != expected.right:
            return "choice"
        if step.answer != expected.answer:
            return "choice" if step.fact is None else "sum"
        return "count"
    if len(said) == len(right):
        return None
    return "stopped early" if len(said) < len(right) else "went on"


def summary(answers: Sequence[Worked]) -> dict[str, Any]:
    """Return, over all answers and by operation, how many are right, by luck, with true sums, and what failed."""
    operations = [name for name in arithmetic.OPERATIONS if any(one.fact.operation == name for one in answers)]
    return _counted(answers) | {
        "by_operation": {name: _counted([one for one in answers if one.fact.operation == name]) for name in operations},
    }


def _counted(answers: Sequence[Worked]) -> dict[str, Any]:
    return {
        "exact_match": share(sum(one.right for one in answers), len(answers)),
        "lucky": share(sum(one.right and one.failure is not None for one in answers), len(answers)),
        "true_sums": share(sum(one.true_sums for one in answers), sum(one.sums for one in answers)),
        "failures": dict(sorted(Counter(one.failure for one in answers if one.failure is not None).items())),
        "count": len(answers),
    }
