"""Running sums and differences of any numbers: with those of the few products alone, steps are learned by heart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nudge.config.data import DataConfig, PracticeSource
from nudge.data import steps
from nudge.data.split import uniform
from nudge.data.steps import Phrases


def documents(data: DataConfig, name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the share of all practice that a hash chooses: of adding up, and of taking away.

    All numbers stay within `max_operand`, as those of products and quotients do. What is shared leaves a rest: without
    one it would be a quotient.
    """
    config = data.sources[name]
    assert isinstance(config, PracticeSource)
    phrases = Phrases(folder / config.file)
    for kind in config.kinds:
        for text, prompt in KINDS[kind](phrases, config.max_operand):
            if uniform(f"{data.seed}:{name}:{prompt}") < config.share:
                yield {"text": text, "source": name, "prompt": prompt}


def _adding(phrases: Phrases, most: int) -> Iterator[tuple[str, str]]:
    for left in range(1, most + 1):
        for right in range(1, most + 1):
            count, addend = steps.counted(left, right)
            if count <= steps.MOST_TIMES:
                for start in range(1, most - count * addend + 1):
                    prompt = phrases.running(start, left, right)
                    yield f"{prompt} {phrases.say(steps.running(start, count, addend))}", prompt


def _sharing(phrases: Phrases, most: int) -> Iterator[tuple[str, str]]:
    for divisor in range(2, most + 1):
        for total in range(divisor + 1, most + 1):
            if total % divisor:
                prompt = phrases.sharing(total, divisor)
                yield f"{prompt} {phrases.say(steps.sharing(total, divisor))}", prompt


KINDS = {"adding": _adding, "sharing": _sharing}
