"""Running sums and differences of any numbers: with those of the few products alone, steps are learned by heart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nudge.config.data import DataConfig, PracticeSource
from nudge.data import steps
from nudge.data.split import uniform
from nudge.data.steps import Phrases

MOST_TIMES = 9  # a product of two numbers below 100 that is itself below 100 has one factor below ten


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
    for count in range(1, MOST_TIMES + 1):
        for addend in range(1, most + 1):
            for start in range(1, most - count * addend + 1):
                said = phrases.say(steps.running(start, count, addend))
                for left, right in {(count, addend), (addend, count)}:
                    if min(left, right) == count:
                        prompt = phrases.running(start, left, right)
                        yield f"{prompt} {said}", prompt


def _sharing(phrases: Phrases, most: int) -> Iterator[tuple[str, str]]:
    for divisor in range(2, most + 1):
        for total in range(divisor + 1, most + 1):
            if total % divisor:
                prompt = phrases.sharing(total, divisor)
                yield f"{prompt} {phrases.say(steps.sharing(total, divisor))}", prompt


KINDS = {"adding": _adding, "sharing": _sharing}
