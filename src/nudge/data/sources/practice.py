"""Running sums and differences of any numbers: with those of the few products alone, steps are learned by heart."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nudge.config.data import DataConfig, PracticeSource
from nudge.data import steps
from nudge.data.split import uniform
from nudge.data.steps import Phrases, Step

MOST_COUNT = 40  # times that something was taken away before
CHOICES = 4  # documents of a beginning that ends in choosing how much to take: a rare step, and the least sure
FROM_ZERO = 0.25  # of such documents, the share in which it was not


def documents(data: DataConfig, name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the share of all practice that a hash chooses: of adding up, or of taking away.

    All numbers stay within `max_operand`, as those of products and quotients do. What is shared leaves a rest, without
    which it would be a quotient, or it was taken away before: each beginning of each chain is a document, since where
    a held-out sum stands in one, all that is longer is dropped.
    """
    config = data.sources[name]
    assert isinstance(config, PracticeSource)
    phrases = Phrases(folder / config.file)
    for text, prompt in KINDS[config.of](phrases, config.max_operand, data.seed):
        if uniform(f"{data.seed}:{name}:{prompt}") < config.share:
            yield {"text": text, "source": name, "prompt": prompt}


def _adding(phrases: Phrases, most: int, seed: int) -> Iterator[tuple[str, str]]:
    for left in range(1, most + 1):
        for right in range(1, most + 1):
            count, addend = steps.counted(left, right)
            if 1 < count <= steps.MOST_TIMES:
                for start in range(1, most - (count - 1) * addend + 1):
                    prompt = phrases.running(left, right, start)
                    yield f"{prompt} {phrases.say(steps.running(start, count, addend))}", prompt


def _sharing(phrases: Phrases, most: int, seed: int) -> Iterator[tuple[str, str]]:
    for divisor in range(2, most + 1):
        for total in range(divisor, most + 1):
            for length, last in _beginnings(steps.sharing(total, divisor)):
                for number in range(CHOICES if last.kind in steps.COMPARISONS else 1):
                    draw = uniform(f"{seed}:{total}:{divisor}:{length}:{number}")
                    count = 0 if draw < FROM_ZERO else int((draw - FROM_ZERO) / (1 - FROM_ZERO) * MOST_COUNT) + 1
                    if count or last.answer:  # else it is a quotient
                        prompt = phrases.sharing(total, divisor, count, last.answer)
                        yield f"{prompt} {phrases.say(steps.sharing(total, divisor, count)[:length])}", prompt


def _beginnings(chain: Sequence[Step]) -> Iterator[tuple[int, Step]]:
    """Yield the length and the last step of each beginning that takes something away.

    It has the comparison after it, if there is one: else that would be seen only where the next number may be shown.
    """
    for length, last in enumerate(chain, 1):
        takes = length > 1 or last.kind == "take"
        if takes and not (length < len(chain) and chain[length].kind in steps.COMPARISONS):
            yield length, last


def _comparing(phrases: Phrases, most: int, seed: int) -> Iterator[tuple[str, str]]:
    for divisor in range(1, steps.MOST_TIMES + 1):
        for left in range(most + 1):
            right = steps.TENFOLD * divisor
            prompt = phrases.comparing(left, right)
            yield f"{prompt} {phrases.say([steps.compared(left, right)])}", prompt


KINDS = {"adding": _adding, "sharing": _sharing, "comparing": _comparing}
