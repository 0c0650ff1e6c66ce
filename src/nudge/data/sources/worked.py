"""Arithmetic facts with the steps that lead to their answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nudge.config.data import DataConfig, WorkedSource
from nudge.data import arithmetic, steps
from nudge.data.truth import Truth, calculated


def documents(data: DataConfig, name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield one document for each fact of the operations that are asked for.

    Args:
        data: the settings of all data.
        name: what the source is called, there and in the `source` column.
        folder: the folder of what people wrote.
    """
    config = data.sources[name]
    assert isinstance(config, WorkedSource)
    phrases = steps.Phrases(folder / config.file)
    for fact in arithmetic.facts(config.max_operand):
        if fact.operation in config.operations:
            prompt = phrases.question(*fact[:3])
            yield {
                "text": f"{prompt} {phrases.say(steps.working(fact, config.style))}",
                "source": name,
                "prompt": prompt,
                "family": fact.family,
                "stratum": fact.stratum,
                **fact._asdict(),
            }


TRUTH = Truth(calculated, steps.final)
