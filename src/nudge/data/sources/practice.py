"""Running sums and differences of any numbers: with those of the few products alone, steps are learned by heart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nudge.config.data import DataConfig, PracticeSource
from nudge.data import steps
from nudge.data.split import uniform
from nudge.data.steps import Phrases

MOST_COUNT = 40  # times that something was taken away before


def documents(data: DataConfig, name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the share of all practice that a hash chooses: of adding up, or of taking away.

    All numbers stay within `max_operand`, as those of products and quotients do. What is shared leaves a rest, without
    which it would be a quotient, or it was taken away before.
    """
    config = data.sources[name]
    assert isinstance(config, PracticeSource)
    phrases = Phrases(folder / config.file)
    for text, prompt in KINDS[config.of](phrases, config, data.seed):
        if uniform(f"{data.seed}:{name}:{prompt}") < config.share:
            yield {"text": text, "source": name, "prompt": prompt}


def _adding(phrases: Phrases, config: PracticeSource, seed: int) -> Iterator[tuple[str, str]]:
    most = config.max_operand
    for left in range(1, most + 1):
        for right in range(1, most + 1):
            count, addend = steps.counted(left, right)
            if count <= steps.MOST_TIMES:
                for start in range(1, most - count * addend + 1):
                    prompt = phrases.running(start, left, right)
                    yield f"{prompt} {phrases.say(steps.running(start, count, addend))}", prompt


def _sharing(phrases: Phrases, config: PracticeSource, seed: int) -> Iterator[tuple[str, str]]:
    for divisor in range(2, config.max_operand + 1):
        for total in range(divisor, config.max_operand + 1):
            draws = (uniform(f"{seed}:{total}:{divisor}:{number}") for number in range(config.counts))
            for count in sorted({0, *(1 + int(draw * MOST_COUNT) for draw in draws)}):
                if count or total % divisor:
                    prompt = phrases.sharing(total, divisor, count)
                    yield f"{prompt} {phrases.say(steps.sharing(total, divisor, count))}", prompt


KINDS = {"adding": _adding, "sharing": _sharing}
