"""From the review queue to the file: each rating once, and none that was there lost."""

from pathlib import Path
from typing import NamedTuple

from nudge.data import ratings
from nudge.rating import queue


class Collected(NamedTuple):
    """How many ratings are new in the file, how many it has now, and how many pairs were left out, and why."""

    new: int
    total: int
    ties: int
    unfinished: int


def collect(path: Path, rater: str | None = None) -> Collected:
    """Add to a file of ratings what people answered since; a pair that somebody answered anew has the newer answer.

    Args:
        rater: what to call people whom a server without accounts knows as "default".

    Raises:
        UserError: the file is damaged; it is left as it is.
    """
    pulled = queue.pull(rater)
    # What was pulled under one name must not come again under another, when the next person gives theirs.
    there = {(one.pair, one.time) for one in (ratings.read(path) if path.exists() else ())}
    new = ratings.add((one for one in pulled.ratings if (one.pair, one.time) not in there), path)
    return Collected(new, len(ratings.read(path)), pulled.ties, pulled.unfinished)
