"""Exact duplicates: of documents with the same text, the first is kept."""

from nudge.data.filters.context import Context, Reasons, Row


def judge(rows: list[Row], settings: None, context: Context) -> Reasons:
    """Drop repeated texts; not those of sources that are written to be repeated (`deduplicate: false`)."""
    repeating = {name for name, source in context.config.sources.items() if not source.deduplicate}
    seen: set[str] = set()
    reasons: Reasons = []
    for row in rows:
        repeated = row["text"] in seen and row["source"] not in repeating
        reasons.append("the same text stands before" if repeated else None)
        seen.add(row["text"])
    return reasons
