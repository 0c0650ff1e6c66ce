"""Questions beyond what was trained on, in one way each, so that it can be told which of them breaks worked steps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nudge.data import steps
from nudge.data.arithmetic import Fact
from nudge.data.split import uniform
from nudge.data.steps import Phrases, Step
from nudge.data.tokenizer import END_ID, prompt_ids
from nudge.evaluation.worked import Failure, failure
from nudge.model.sampling import greedy
from nudge.model.saved import Saved

TRAINED, LARGEST = 99, 198  # operands of trained sums, and their results
DIGIT = steps.MOST_TIMES
EACH = 200  # questions of a group at most, drawn by hash

GROUPS = {
    "factors": "products above 99 of factors never seen together: every sum but the last result is within the range",
    "sums": "products above 99 with sums of numbers above 99, which no document adds to",
    "counts": "products of two factors above nine: counted from ten and more, which no product is",
    "dividends": "quotients of dividends above 99",
    **{
        f"chain {count}": f"a number counted {count} times within the range, the first step written for the model"
        for count in (9, 10, 11, 12, 13)
    },
}


@dataclass(frozen=True)
class Question:
    """A question beyond the range.

    Attributes:
        group: in which way it is beyond.
        asked: its words.
        written: the steps that are written for the model; "" for none.
        right: the steps that are left.
        answer: what they come to.
    """

    group: str
    asked: str
    written: str
    right: list[Step]
    answer: int


@dataclass(frozen=True)
class Found:
    """What became of a question: whether the answer is right, and which kind of step failed first."""

    question: Question
    right: bool
    failure: Failure | None


def trained(rows: Sequence[dict[str, Any]]) -> frozenset[str]:
    """Return what training documents ask, but for those that are cut before their end."""
    return frozenset(row["prompt"] for row in rows if row["prompt"] is not None and not row["cut"])


def questions(phrases: Phrases, trained: frozenset[str]) -> list[Question]:
    """Return the questions of all groups, the same for every model of a corpus.

    Args:
        phrases: how questions and steps are said.
        trained: what is not asked.
    """
    found = []
    for group in GROUPS:
        new = [one for one in _of(group, phrases) if one.asked not in trained]
        found += sorted(new, key=lambda one: uniform(one.asked))[:EACH]
    return found


def _of(group: str, phrases: Phrases) -> Iterator[Question]:
    if group.startswith("chain"):
        count = int(group.split()[1])
        for addend in range(2, (TRAINED - 1) // (count - 1) + 1):  # ones are not counted
            for start in range(1, TRAINED - (count - 1) * addend + 1):
                # By itself it would count the other factor, if this one is no digit.
                first, *others = steps.running(start, count, addend)
                asked = phrases.running(count, addend, start)
                yield Question(group, asked, phrases.say([first]), others, others[-1].answer)
        return
    for left in range(2, TRAINED + 1):
        for right in range(2, TRAINED + 1):
            if TRAINED < left * right <= LARGEST:
                product = Fact("times", left, right, left * right)
                if group == "dividends":
                    fact = Fact("divided by", left * right, right, left)
                    yield Question(group, phrases.question(*fact[:3]), "", steps.working(fact), left)
                elif _group(product) == group:
                    yield Question(group, phrases.question(*product[:3]), "", steps.working(product), product.answer)


def _group(product: Fact) -> str:
    working = steps.working(product)
    if working[0].count is not None and working[0].count > DIGIT:
        return "counts"
    inside = all(step.left is None or max(step.left, step.right or 0) <= TRAINED for step in working)
    return "factors" if inside else "sums"


def ask(model: Saved, asked: Sequence[Question], phrases: Phrases) -> list[Found]:
    """Have a model work questions out, greedily; a text that fills the context came to no end."""
    prompts = [prompt_ids(model.tokenizer, f"{one.asked} {one.written}") for one in asked]
    found = []
    for one, said in zip(asked, greedy(model.model, prompts, END_ID, model.model.config.context), strict=True):
        text = model.tokenizer.decode(list(said.ids))
        right = said.ended and steps.final(text) == one.answer
        found.append(Found(one, right, failure(phrases.heard(text), one.right)))
    return found
