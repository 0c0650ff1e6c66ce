"""Personal data: addresses, telephone numbers, keys and secrets, found by patterns."""

import re

from nudge.config.curation import PersonalDataFilter
from nudge.data.filters.context import Context, Reasons, Row


def judge(rows: list[Row], settings: PersonalDataFilter, context: Context) -> Reasons:
    """Drop documents in which a pattern is found."""
    patterns = {name: re.compile(pattern) for name, pattern in settings.patterns.items()}
    reasons: Reasons = []
    for row in rows:
        hit = next(((name, match) for name, it in patterns.items() if (match := it.search(row["text"]))), None)
        reasons.append(f"{hit[0]}: '{hit[1][0]}'" if hit else None)
    return reasons
