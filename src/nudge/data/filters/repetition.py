"""Boilerplate: text made of passages that stand in many documents, whatever else is around them."""

from collections import Counter

from nudge.config.curation import RepetitionFilter
from nudge.data import numbers
from nudge.data.filters.context import Context, Reasons, Row


def judge(rows: list[Row], settings: RepetitionFilter, context: Context) -> Reasons:
    """Drop documents that consist of repeated passages for the most.

    A passage is a run of `ngram` words without a number that stands in at least `documents` documents. Facts have
    numbers between their words, so none of their passages is long.
    """
    split = [row["text"].split() for row in rows]
    grams = [_grams(words, settings.ngram) for words in split]
    counts = Counter(gram for own in grams for gram in {gram for _, gram in own})
    repeated = {gram for gram, count in counts.items() if count >= settings.documents}
    reasons: Reasons = []
    for words, own in zip(split, grams, strict=True):
        covered = {place for at, gram in own if gram in repeated for place in range(at, at + settings.ngram)}
        most = len(covered) > settings.most_covered * len(words)
        reasons.append(f"{len(covered)} of {len(words)} words are passages of other documents" if most else None)
    return reasons


def _grams(words: list[str], length: int) -> list[tuple[int, tuple[str, ...]]]:
    """Return the runs of so many words without a number, each with its place."""
    found, begin = [], 0
    for at, word in enumerate(words):
        if word in numbers.NUMBER_WORDS:
            begin = at + 1
        elif at - begin >= length - 1:
            first = at - length + 1
            found.append((first, tuple(words[first : at + 1])))
    return found
