"""Whole numbers as the English words that a person says, and back."""

from functools import cache

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
