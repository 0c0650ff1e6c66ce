"""What a user can do wrong, said in one line."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what was asked: one line with what is wrong, where, and what would be right. Exit code 2."""


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name that `name` was most likely meant to be, or None if nothing is close."""
    matches = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)", or the list of what there is when nothing is close."""
    choices = sorted(valid)
    match = nearest(name, choices)
    return f" (did you mean '{match}'?)" if match else f" (there is: {', '.join(choices)})"
