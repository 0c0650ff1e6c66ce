"""Text of low quality by plain counts, as Gopher's rules (Rae et al. 2021, arXiv:2112.11446), for one line."""

from collections import Counter
from functools import cache
from itertools import pairwise

from nudge.config.curation import QualityFilter
from nudge.data.filters.context import Context, Reasons, Row


def judge(rows: list[Row], settings: QualityFilter, context: Context) -> Reasons:
    """Drop what is too short or long, whose words are too short or long, or that is marks or repeats for the most."""
    return [_wrong(row["text"], settings) for row in rows]


def _wrong(text: str, settings: QualityFilter) -> str | None:
    words = text.split()
    if not settings.words[0] <= len(words) <= settings.words[1]:
        return f"{len(words)} words"
    spelled = [word for word in words if word.isalpha() and word.isascii()]
    if len(spelled) < settings.least_spelled * len(words):
        return f"{len(spelled)} of {len(words)} words are spelled with letters"
    odd = [word for word in words if _is_odd(word)]
    if len(odd) > settings.most_odd:
        return f"{len(odd)} words like {odd[0]!r}"
    if any(len(word) > settings.longest_word for word in words):
        return f"a word of {max(map(len, words))} letters"
    mean = sum(map(len, spelled)) / len(spelled)
    if not settings.mean_letters[0] <= mean <= settings.mean_letters[1]:
        return f"words of {mean:.1f} letters"
    stutters = sum(one == two for one, two in pairwise(words))
    if stutters > settings.most_stutters:
        return f"{stutters} words said twice in a row"
    word, count = Counter(spelled).most_common(1)[0]
    if count > settings.most_of_one * len(words) and count > 2:
        return f"'{word}' {count} times in {len(words)} words"
    return None


@cache
def _is_odd(word: str) -> bool:
    """Say whether a word mixes letters with marks, or is a longer run of marks than "=="."""
    letters = sum(map(str.isalnum, word))
    return 0 < letters < len(word) or (letters == 0 and len(word) > 2)
