"""Running sums and differences of any numbers: with those of the few products alone, steps are learned by heart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from nudge.config.data import DataConfig, PracticeSource
from nudge.data import steps
from nudge.data.split import uniform
from nudge.data.steps import Phrases, Step

MOST_COUNT = 40  # times that something was taken away before
FROM_ZERO = 0.25  # of such documents, the share in which it was not
DRAWS = 4  # of how often a divisor was taken away from a total before; each that is new is a document


class Practice(NamedTuple):
    """A document of practice: what is asked, the steps, and whether they could go on."""

    prompt: str
    chain: list[Step]
    cut: bool = False


def documents(data: DataConfig, name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the share of all practice that a hash chooses: of adding up, or of taking away.

    All numbers stay within `max_operand`, as those of products and quotients do. What is shared leaves a rest, without
    which it would be a quotient, or it was taken away before. A rest is no end, which is at zero: its document is cut.
    """
    config = data.sources[name]
    assert isinstance(config, PracticeSource)
    phrases = Phrases(folder / config.file)
    for prompt, chain, cut in KINDS[config.of](phrases, config.max_operand, data.seed):
        if uniform(f"{data.seed}:{name}:{prompt}") < config.share:
            yield {"text": f"{prompt} {phrases.say(chain)}", "source": name, "prompt": prompt, "cut": cut}


def _adding(phrases: Phrases, most: int, seed: int) -> Iterator[Practice]:
    for left in range(1, most + 1):
        for right in range(1, most + 1):
            count, addend = steps.counted(left, right)
            if 1 < count <= steps.MOST_TIMES:
                for start in range(1, most - (count - 1) * addend + 1):
                    yield Practice(phrases.running(left, right, start), steps.running(start, count, addend))


def _sharing(phrases: Phrases, most: int, seed: int) -> Iterator[Practice]:
    for divisor in range(2, most + 1):
        for total in range(divisor, most + 1):
            for number in range(DRAWS):
                draw = uniform(f"{seed}:{total}:{divisor}:{number}")
                count = 0 if draw < FROM_ZERO else int((draw - FROM_ZERO) / (1 - FROM_ZERO) * MOST_COUNT) + 1
                chain = steps.sharing(total, divisor, count)
                has_rest = chain[-1].answer > 0
                if count or has_rest:  # else it is a quotient
                    yield Practice(phrases.sharing(total, divisor, count), chain, has_rest)


def _comparing(phrases: Phrases, most: int, seed: int) -> Iterator[Practice]:
    for divisor in range(1, steps.MOST_TIMES + 1):
        for left in range(most + 1):
            right = steps.TENFOLD * divisor
            yield Practice(phrases.comparing(left, right), [steps.compared(left, right)])


KINDS = {"adding": _adding, "sharing": _sharing, "comparing": _comparing}
