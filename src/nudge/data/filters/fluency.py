"""Text that reads like nothing else in the corpus: pairs of words that hardly ever stand side by side.

CCNet (Wenzek et al. 2020, arXiv:1911.00359) drops what a language model of good text finds surprising. Here the model
is the corpus's own count of word pairs, with all numbers taken for one word.
"""

from collections import Counter
from itertools import pairwise

from nudge.config.curation import FluencyFilter
from nudge.data import numbers
from nudge.data.filters.context import Context, Reasons, Row


def judge(rows: list[Row], settings: FluencyFilter, context: Context) -> Reasons:
    """Drop documents in which too many pairs of words stand in too few documents."""
    split = [["<s>", *numbers.masked(row["text"]).split(), "</s>"] for row in rows]
    counts: Counter[tuple[str, str]] = Counter()
    for words in split:
        counts.update(set(pairwise(words)))
    reasons: Reasons = []
    for words in split:
        rare = sum(counts[pair] < settings.documents for pair in pairwise(words))
        odd = rare > settings.most_rare * (len(words) - 1)
        reasons.append(f"{rare} of {len(words) - 1} pairs of words are rare" if odd else None)
    return reasons
