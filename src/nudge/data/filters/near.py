"""Near duplicates: documents that say the same numbers in nearly the same words, found by MinHash.

As Broder (1997) and Lee et al. (2022, arXiv:2107.06499): signatures of each document's words and pairs of words,
candidates by locality-sensitive hashing, and each candidate verified by the Jaccard similarity itself. Facts of one
template differ in a number only, so all of them would be near duplicates of one another; therefore only documents that
say the same numbers are compared: the numbers are part of each bucket's key.
"""

from collections import defaultdict
from itertools import pairwise

import numpy as np
from rensa import RMinHash

from nudge.config.curation import NearDuplicatesFilter
from nudge.data import numbers
from nudge.data.filters.context import Context, Reasons, Row


def judge(rows: list[Row], settings: NearDuplicatesFilter, context: Context) -> Reasons:
    """Drop documents that are near duplicates of one that is kept and stands before."""
    said: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        said[numbers.found(row["text"])].append(place)
    repeating = {name for name, source in context.config.sources.items() if not source.deduplicate}
    reasons: Reasons = [None] * len(rows)
    for places in said.values():
        if len(places) > 1:
            _judge_together(
                [place for place in places if rows[place]["source"] not in repeating], rows, settings, reasons
            )
    return reasons


def _judge_together(places: list[int], rows: list[Row], settings: NearDuplicatesFilter, reasons: Reasons) -> None:
    """Judge documents that say the same numbers."""
    shingles = {place: _shingles(rows[place]["text"]) for place in places}
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for place in places:
        signature = RMinHash(num_perm=settings.permutations, seed=0)
        signature.update(sorted(shingles[place]))
        bands = np.array(signature.digest(), np.uint32).reshape(settings.bands, -1)
        keys = [(number, band.tobytes()) for number, band in enumerate(bands)]
        for candidate in sorted({one for key in keys for one in buckets.get(key, ())}):
            both, either = shingles[place] & shingles[candidate], shingles[place] | shingles[candidate]
            if len(both) >= settings.similarity * len(either):
                reasons[place] = f"{len(both) / len(either):.2f} like {rows[candidate]['text']!r}"
                break
        else:
            for key in keys:
                buckets[key].append(place)


def _shingles(text: str) -> frozenset[str]:
    """Return the words and marks, and the pairs of neighbouring ones."""
    words = text.split()
    return frozenset([*words, *(f"{one} {two}" for one, two in pairwise(words))])
