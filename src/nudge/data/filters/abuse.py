"""Abusive text, found by a list of words that people wrote."""

import re

from nudge.config.curation import AbuseFilter
from nudge.data.filters.context import Context, Reasons, Row
from nudge.errors import UserError

LOOKS_LIKE = str.maketrans("01345", "oieas")


def judge(rows: list[Row], settings: AbuseFilter, context: Context) -> Reasons:
    """Drop documents with a word of the list."""
    path = context.folder / settings.words
    if not path.is_file():
        raise UserError(f"{path}: no such file; `dvc pull` fetches what data.dvc names")
    listed = frozenset(path.read_text(encoding="utf-8").split())
    if not listed:
        raise UserError(f"{path}: lists no words; write one a line, or take 'abuse' out of data.curation.filters")
    words = {word for row in rows for word in row["text"].split()}
    abusive = {word for word in words if not listed.isdisjoint(_disguises(word))}
    found = [sorted(abusive.intersection(row["text"].split())) for row in rows]
    return [f"says '{words[0]}'" if words else None for words in found]


def _disguises(word: str) -> set[str]:
    """Return what a word may stand for: without marks and plural, digits read as the letters that they look like."""
    plain = re.sub(r"[^a-z]", "", word.translate(LOOKS_LIKE))
    return {word, plain, plain.removesuffix("s")}
