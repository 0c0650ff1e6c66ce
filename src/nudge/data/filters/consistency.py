"""Wrong facts, found by what other documents say: no arithmetic is known here.

A question that documents answer differently is decided by how many say what. Where no answer leads, nobody can tell,
and all stay.
"""

from collections import Counter, defaultdict

from nudge.config.curation import ConsistencyFilter
from nudge.data.filters.context import Context, Reasons, Row


def judge(rows: list[Row], settings: ConsistencyFilter, context: Context) -> Reasons:
    """Drop documents whose answer is outvoted by those of others to the same question."""
    votes: dict[tuple[str, int, int], Counter[int]] = defaultdict(Counter)
    for row in rows:
        if row["operation"] is not None:
            votes[_question(row)][row["answer"]] += 1
    reasons: Reasons = []
    for row in rows:
        reason = None
        if row["operation"] is not None and len(votes[_question(row)]) > 1:
            (answer, most), (_, second) = votes[_question(row)].most_common(2)
            if most - second >= settings.lead and row["answer"] != answer:
                reason = f"{most} documents say {answer}"
        reasons.append(reason)
    return reasons


def _question(row: Row) -> tuple[str, int, int]:
    return row["operation"], row["left"], row["right"]
