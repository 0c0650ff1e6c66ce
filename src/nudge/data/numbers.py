"""Whole numbers as the English words that a person says, and back."""

from functools import cache, lru_cache

from num2words import num2words


@cache
def words(number: int) -> str:
    """Say a whole number in separate words, without "and": 198 is "one hundred ninety eight"."""
    spoken: str = num2words(number)
    return spoken.replace(" and ", " ").replace("-", " ").replace(",", "")


@cache
def _spoken(limit: int) -> dict[str, int]:
    return {words(number): number for number in range(limit)}


def parse(spoken: str, limit: int = 10_000) -> int | None:
    """Return the number below `limit` that the words say, or None if they say none."""
    return _spoken(limit).get(" ".join(spoken.split()))


@cache
def _by_words(limit: int) -> dict[tuple[str, ...], int]:
    return {tuple(words(number).split()): number for number in range(limit)}


NUMBER_WORDS = frozenset(word for number in range(1000) for word in words(number).split())
TEXTS = 65_536  # filters ask for the same ones
LONGEST = 4  # words, "one hundred ninety eight"


@lru_cache(maxsize=TEXTS)
def found(text: str) -> tuple[int, ...]:
    """Return the numbers below 1,000 that a text says, in order; where words could be read as several, the longest.

    "take forty two , add one hundred" says 42 and 100; "five twenty" says 5 and 20.
    """
    spoken, numbers, place = text.split(), list[int](), 0
    known = _by_words(1000)
    while place < len(spoken):
        if spoken[place] in NUMBER_WORDS:
            for length in range(LONGEST, 0, -1):
                number = known.get(tuple(spoken[place : place + length]))
                if number is not None:
                    numbers.append(number)
                    place += length - 1
                    break
        place += 1
    return tuple(numbers)


@lru_cache(maxsize=TEXTS)
def masked(text: str, mask: str = "0") -> str:
    """Return a text with one mark in the place of each run of number words: what it says but for the numbers."""
    kept: list[str] = []
    for word in text.split():
        if word not in NUMBER_WORDS:
            kept.append(word)
        elif not kept or kept[-1] != mask:
            kept.append(mask)
    return " ".join(kept)
