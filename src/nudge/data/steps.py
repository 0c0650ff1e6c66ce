"""Worked steps: a product as running sums that are counted down, a quotient as differences that are counted up.

How they are said is read from a file that people wrote; what they say is read back by the same templates.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from nudge.config.data import DataConfig, WorkedSource
from nudge.data import arithmetic, numbers, templates
from nudge.data.arithmetic import Fact

Kind = Literal["say", "so", "plus", "minus", "begin", "add", "take", "enough", "short"]
Style = Literal["down", "up", "multiples"]


COMPARISONS = ("enough", "short")
MOST_TIMES = 9  # of two factors below 100 whose product is below 100 one is no greater
TENFOLD = 10  # a quotient takes away ten times the divisor while it can: a few steps in place of dozens
FIELDS: dict[str, tuple[str, ...]] = {
    "say": ("answer",),
    "so": ("answer",),
    "plus": ("left", "right", "answer"),
    "minus": ("left", "right", "answer"),
    "begin": ("count", "answer"),
    "add": ("count", "left", "right", "answer"),
    "take": ("left", "right", "answer", "count"),
    "enough": ("left", "right"),
    "short": ("left", "right"),
}
QUESTIONS: dict[str, tuple[str, ...]] = {
    "question": ("left", "operation", "right"),
    "running": ("left", "right", "start"),
    "sharing": ("left", "right", "count"),
    "comparing": ("left", "right"),
}
KEYS = (*QUESTIONS, "steps", "operations")


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        kind: which of the templates says it.
        answer: the number that it comes to; of a comparison, what there is.
        left, right: what is added, taken away or compared; None in a step that has no sum.
        count: how often the addend is still to be counted, this time included, or how often the divisor was taken away.
    """

    kind: Kind
    answer: int
    left: int | None = None
    right: int | None = None
    count: int | None = None

    @property
    def fact(self) -> Fact | None:
        """Return the sum or difference that the step states, as it states it."""
        if self.left is None or self.right is None or self.kind in COMPARISONS:
            return None
        return Fact("plus" if self.kind in ("plus", "add") else "minus", self.left, self.right, self.answer)

    @property
    def is_true(self) -> bool:
        """Say whether the sum, the difference or the comparison that the step states is right, if it states one."""
        if self.kind in COMPARISONS:
            assert self.left is not None
            assert self.right is not None
            return self.kind == compared(self.left, self.right).kind
        return self.fact is None or arithmetic.compute(*self.fact[:3]) == self.answer


def working(fact: Fact, style: Style = "down") -> list[Step]:
    """Return the steps to a fact's answer.

    Args:
        fact: what is asked; a sum or a difference is one step in every style.
        style: down: a product is counted down to one, of a quotient the divisor is taken away until nothing is left,
            and the answer is the last number. up: sums are counted up, to a factor or until the dividend is reached, by
            the same tens and ones; multiples: they are listed without their sums; in both the answer is said again.
    """
    operation, left, right, answer = fact
    if operation == "plus":
        return [Step("plus", answer, left, right)]
    if operation == "minus":
        return [Step("minus", answer, left, right)]
    if answer == 0 or (operation == "divided by" and right == 1):
        return [Step("say", answer)]
    count, addend = counted(left, right)
    if style == "down":
        if operation == "times":
            return running(addend, count, addend)
        return sharing(left, right)
    reached = _upwards(count, addend) if operation == "times" else _upwards_by_tens(left, right)
    if style == "multiples":
        return [*(Step("say", step.answer) for step in reached), Step("so", answer)]
    return [*reached, Step("so", answer)]


def _upwards(count: int, addend: int) -> list[Step]:
    return [replace(step, count=place) for place, step in enumerate(running(addend, count, addend), 1)]


def _upwards_by_tens(total: int, divisor: int) -> list[Step]:
    """Return the steps that reach a dividend from below, by what `sharing` takes away from it."""
    first, *others = (step for step in sharing(total, divisor) if step.kind == "take")
    steps = [Step("begin", total - first.answer, count=first.count)]
    for one in others:
        steps.append(Step("add", total - one.answer, steps[-1].answer, one.right, one.count))
    return steps


def counted(left: int, right: int) -> tuple[int, int]:
    """Return which factor is counted, and which is added so many times: six times eight is six eights.

    The left one, if it is a digit: which of two is smaller would be one thing more to know. But a one on the right:
    there is nothing to work out.
    """
    return (left, right) if left <= MOST_TIMES and right != 1 else (right, left)


def running(start: int, count: int, addend: int) -> list[Step]:
    """Return the steps that count a number so many times, down to one: a stop that is always the same.

    Args:
        start: what stands for it the first time; in a product the number itself.
        count: how often it is counted, the first time included.
        addend: the number.
    """
    sums = [
        Step("add", start + done * addend, start + (done - 1) * addend, addend, count - done)
        for done in range(1, count)
    ]
    return [Step("begin", start, count=count), *sums]


def sharing(total: int, divisor: int, count: int = 0) -> list[Step]:
    """Return the steps that take a number away as often as it goes, ten times at once while there is enough for that.

    Whether there is enough is said before, for divisors that are digits, until there is not.

    Args:
        total: what it is taken from.
        divisor: what is taken away.
        count: how often it was taken away before.
    """
    steps = []
    tenfold = divisor <= MOST_TIMES
    while total >= divisor:
        if tenfold:
            steps.append(compared(total, TENFOLD * divisor))
            tenfold = steps[-1].kind == "enough"
        times = TENFOLD if tenfold else 1
        count += times
        steps.append(Step("take", total - times * divisor, total, times * divisor, count))
        total -= times * divisor
    return steps


def compared(left: int, right: int) -> Step:
    """Return the step that says whether there is enough to take so much away."""
    return Step("enough" if left >= right else "short", left, left, right)


class Phrases:
    """How questions and steps are said, read from the file that people wrote.

    Raises:
        UserError: the file is missing, not YAML, or lacks a key or a field.
    """

    def __init__(self, path: Path) -> None:
        content = templates.read(path, KEYS)
        self.operations = templates.phrases(f"{path}: operations", content["operations"], arithmetic.OPERATIONS)
        self._steps = templates.phrases(f"{path}: steps", content["steps"], get_args(Kind))
        self._questions = {key: templates.text(f"{path}: {key}", content[key]) for key in QUESTIONS}
        for key, fields in QUESTIONS.items():
            templates.check(f"{path}: {key}", self._questions[key], once=fields)
        for key, fields in FIELDS.items():
            templates.check(f"{path}: steps.{key}", self._steps[key], once=fields)
        self._patterns = [(kind, _pattern(self._steps[kind])) for kind in get_args(Kind)]
        self._mark = re.compile(rf"(?={re.escape(self._steps['say'].split()[0])}(?: |$))")

    def question(self, operation: str, left: int, right: int) -> str:
        """Ask for an answer with its steps."""
        return self._questions["question"].format(
            left=numbers.words(left), operation=self.operations[operation], right=numbers.words(right)
        )

    def running(self, left: int, right: int, start: int) -> str:
        """Ask for a product in which another number stands for the first time."""
        return self._questions["running"].format(
            left=numbers.words(left), right=numbers.words(right), start=numbers.words(start)
        )

    def sharing(self, total: int, divisor: int, count: int) -> str:
        """Ask to take a number away as often as it goes, if it was taken away so often before."""
        named = {"left": total, "right": divisor, "count": count}
        return self._questions["sharing"].format(**{name: numbers.words(number) for name, number in named.items()})

    def comparing(self, left: int, right: int) -> str:
        """Ask whether there is enough to take so much away."""
        return self._questions["comparing"].format(left=numbers.words(left), right=numbers.words(right))

    def asks(self, text: str) -> bool:
        """Say whether a text is a question for steps, and nothing more."""
        return self._asked(self._questions["question"], text) is not None

    def as_question(self, text: str) -> str:
        """Turn "six times eight", or "six times eight equals", into a question for steps; leave other texts."""
        said = re.sub(" equals$", "", " ".join(text.split()))
        asked = self._asked("{left} {operation} {right}", said)
        return said if asked is None else self.question(*asked)

    def _asked(self, template: str, text: str) -> tuple[str, int, int] | None:
        for operation, phrase in self.operations.items():
            if match := _pattern(template.replace("{operation}", phrase)).fullmatch(" ".join(text.split())):
                left, right = (numbers.parse(match[side]) for side in ("left", "right"))
                if left is not None and right is not None:
                    return operation, left, right
        return None

    def say(self, steps: Sequence[Step]) -> str:
        """Say steps, one after the other."""
        return " ".join(
            self._steps[step.kind].format(
                **{field: numbers.words(getattr(step, field)) for field in FIELDS[step.kind]},
            )
            for step in steps
        )

    def opening(self, step: Step, until: str) -> str:
        """Say a step up to one of its fields."""
        template = self._steps[step.kind].split(f"{{{until}}}")[0]
        before = [field for field in FIELDS[step.kind] if f"{{{field}}}" in template]
        return template.format(**{field: numbers.words(getattr(step, field)) for field in before}).strip()

    def heard(self, said: str) -> list[Step | None]:
        """Return the steps that a text says, in order; None for a part of it that is no step."""
        return [self._step(part) for part in self.parts(said)]

    def parts(self, said: str) -> list[str]:
        """Divide what a text says into its steps, at the mark that each begins with."""
        return [part.strip() for part in self._mark.split(said) if part.strip()]

    def _step(self, part: str) -> Step | None:
        for kind, pattern in self._patterns:
            if match := pattern.fullmatch(part):
                found = {field: numbers.parse(words) for field, words in match.groupdict().items()}
                if None not in found.values():
                    answer = found.pop("answer", found.get("left"))
                    return Step(kind, answer, **found)  # type: ignore[arg-type]
        return None


def phrases_of(data: DataConfig, root: Path) -> Phrases | None:
    """Return how a corpus of worked documents says steps; None for one that has none.

    Args:
        data: the settings of all data.
        root: the folder of the project.
    """
    worked = next((source for source in data.sources.values() if isinstance(source, WorkedSource)), None)
    return None if worked is None else Phrases(root / data.path / worked.file)


def final(said: str) -> int | None:
    """Return the answer that worked steps come to: the last number in them; None if they say none."""
    found = numbers.found(said)
    return found[-1] if found else None


def _pattern(template: str) -> re.Pattern[str]:
    return templates.pattern(template, dict.fromkeys(templates.fields(template), "[a-z ]+"))
