"""How accuracy falls with the distance between a question and what training showed: the generalisation gap in steps."""

import random
from collections.abc import Iterator
from typing import Any

from nudge.data import arithmetic
from nudge.data.arithmetic import Fact
from nudge.data.sources.facts import Phrasings
from nudge.evaluation import intervals
from nudge.evaluation.answers import Scored

BEYOND = 21  # numbers after the greatest operand: 100 to 120 for the calculator, all of them sayable in its words

SEEN = "seen fact"
# From near to far; the value is where the questions come from: a split, or a reason for which a fact was held out.
KINDS = {
    SEEN: "train",
    "unseen order": "order",
    "unseen family": "test",
    "unseen operand": "operand",
    "unseen answer": "answer",
    "beyond the range": "beyond",
}
REASONS = {
    "train": "the corpus has no questions",
    "order": "the corpus holds out no order (data.hold_out.orders)",
    "test": "the test split has no questions",
    "operand": "the corpus holds out no operand (data.hold_out.operands)",
    "answer": "the corpus holds out no answer (data.hold_out.answers)",
    "beyond": "no true fact beyond the corpus can be said in its words",
}


def table(scored: Scored, origin: list[str]) -> list[dict[str, Any]]:
    """Return exact match by kind of question, and within each kind by operation.

    Args:
        scored: questions, answered.
        origin: where each comes from: one of the values of `KINDS`; others are left out.

    Returns:
        rows `{"kind", "operation", "count", "right", "share", "low", "high", "reason"}`; the interval is Wilson's at
        95 %; operation "all" comes first; `reason` says why a count is 0, and is None elsewhere.
    """
    rows: list[dict[str, Any]] = []
    for kind, source in KINDS.items():
        members = scored.where([one == source for one in origin])
        reason = None if members.rows else REASONS[source]
        rows.append({"kind": kind, "operation": "all", **_share(members), "reason": reason})
        operations = set(members.column("operation")) & set(arithmetic.OPERATIONS)
        for operation in sorted(operations, key=arithmetic.OPERATIONS.index):
            of_it = members.where([one == operation for one in members.column("operation")])
            rows.append({"kind": kind, "operation": operation, **_share(of_it), "reason": None})
    return rows


def _share(scored: Scored) -> dict[str, float | int | None]:
    return intervals.share(int(scored.right_N.sum()), len(scored.rows))


def beyond(operation: str, phrasings: Phrasings, max_operand: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the true facts of an operation just beyond the range of a corpus, as rows of documents, in random order.

    Sums and differences with an operand, and quotients with a dividend, among the `BEYOND` numbers after the greatest
    operand; products of two operands of the corpus that it leaves out because they are greater than `max_operand`.

    Args:
        operation: one of `arithmetic.OPERATIONS`.
        phrasings: how the corpus says facts.
        max_operand: the greatest operand, and the greatest product, of the corpus.
        seed: of the order.
    """
    facts = list(_beyond(operation, max_operand))
    random.Random(seed).shuffle(facts)
    for fact in facts:
        text, prompt = phrasings.state(fact)
        yield {"text": text, "prompt": prompt, "family": fact.family, **fact._asdict()}


def _beyond(operation: str, max_operand: int) -> Iterator[Fact]:
    numbers = range(max_operand + 1 + (0 if operation == "times" else BEYOND))
    for left in numbers:
        for right in numbers:
            answer = arithmetic.compute(operation, left, right)
            if answer is None:
                continue
            # A divisor can't be greater than its dividend, nor what is taken away than what it is taken from.
            if max_operand < (answer if operation == "times" else max(left, right)):
                yield Fact(operation, left, right, answer)
