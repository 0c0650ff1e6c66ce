"""The calculator's source: every arithmetic fact, said in words."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from nudge.config.data import DataConfig, FactsSource
from nudge.data import arithmetic, numbers, templates
from nudge.data.arithmetic import Fact
from nudge.data.split import uniform
from nudge.data.truth import ARITHMETIC, Known, Truth
from nudge.errors import UserError

FIELDS = ("left", "operation", "right", "answer")


class Phrasings:
    """How people say facts, read from the file that they wrote.

    Raises:
        UserError: the file is missing, not YAML, or lacks an operation or a field.
    """

    def __init__(self, path: Path) -> None:
        content = templates.read(path, ("statement", "operations"))
        self.statement = templates.text(f"{path}: statement", content["statement"])
        templates.check(f"{path}: statement", self.statement, once=FIELDS)
        if templates.fields(self.statement)[-1] != "answer":
            raise UserError(f"{path}: statement must end with {{answer}}, so that what stands before it is a question")
        self.operations = templates.phrases(f"{path}: operations", content["operations"], arithmetic.OPERATIONS)
        self.question = self.statement[: self.statement.index("{answer}")].rstrip()

    def state(self, fact: Fact) -> tuple[str, str]:
        """Say a fact; return its whole text and the beginning of it that asks."""
        spoken = {
            "left": numbers.words(fact.left),
            "operation": self.operations[fact.operation],
            "right": numbers.words(fact.right),
            "answer": numbers.words(fact.answer),
        }
        return self.statement.format(**spoken), self.question.format(**spoken)


def documents(data: DataConfig, name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield one document for each fact.

    Args:
        data: the settings of all data.
        name: what the source is called, there and in the `source` column.
        folder: the folder of what people wrote.
    """
    config = data.sources[name]
    assert isinstance(config, FactsSource)
    phrasings = Phrasings(folder / config.phrasings)
    for fact, said in _said(data, name):
        text, prompt = phrasings.state(said)
        yield {
            "text": text,
            "source": name,
            "prompt": prompt,
            "family": fact.family,
            "stratum": fact.stratum,
            **said._asdict(),
        }


def truth(data: DataConfig, name: str) -> Truth:
    """Return what the facts of this source must say: what is right, or what shuffling made of it."""
    config = data.sources[name]
    assert isinstance(config, FactsSource)
    if config.answers == "right":
        return ARITHMETIC
    known = {said[:3]: Known(said.answer, fact.family) for fact, said in _said(data, name)}
    return Truth(lambda operation, left, right: known.get((operation, left, right)))


def _said(data: DataConfig, name: str) -> Iterator[tuple[Fact, Fact]]:
    """Yield each fact as it is, and as the source says it.

    Shuffled answers are those of the same operation in another order: how often each answer comes stays as it was, so
    that a model can do no better than that frequency but by heart (Zhang et al. 2017, arXiv:1611.03530).
    """
    config = data.sources[name]
    assert isinstance(config, FactsSource)
    for _, group in groupby(arithmetic.facts(config.max_operand), lambda fact: fact.operation):
        facts = list(group)
        givers = facts
        if config.answers == "shuffled":
            givers = sorted(facts, key=lambda fact: uniform(f"{data.seed}:{name}:{fact}"))
        yield from ((fact, fact._replace(answer=giver.answer)) for fact, giver in zip(facts, givers, strict=True))
