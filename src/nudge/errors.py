"""What can go wrong, said in one line: by the user, by the world, or by a signal."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what was asked: one line with what is wrong, where, and what would be right. Exit code 2."""


class RunError(Exception):
    """A fault of the world, or a run that failed: one line with what happened and what to do. Exit code 1."""


class Pruned(RunError):  # noqa: N818 - the word that searches use
    """A search gave up a run that was doing worse than others."""


class Stopped(BaseException):
    """A signal asked a run to stop, and it did. Not an Exception: nothing on the way may take it for a failure.

    Args:
        signum: the signal; the exit code is 128 + signum, as shells count.
        line: what a person reads: where it stopped, and how to go on.
    """

    def __init__(self, signum: int, line: str) -> None:
        super().__init__(signum, line)
        self.signum, self.line = signum, line


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name that `name` was most likely meant to be, or None if nothing is close."""
    matches = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)", or the list of what there is when nothing is close."""
    choices = sorted(valid)
    match = nearest(name, choices)
    return f" (did you mean '{match}'?)" if match else f" (there is: {', '.join(choices)})"
