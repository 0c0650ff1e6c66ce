"""What keeps a document out of the curated corpus: one module a filter; a new one is a module and a line here.

A filter reads texts, and the columns that a document itself states; never labels, and it knows no arithmetic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nudge.data.filters import (
    abuse,
    classifier,
    consistency,
    decontamination,
    exact,
    fluency,
    language,
    near,
    personal,
    quality,
    repetition,
    steps,
)
from nudge.data.filters.context import Context, Reasons, Row


@dataclass(frozen=True)
class Filter:
    """A filter.

    Attributes:
        judge: (documents, its settings, what it may know beside them) → for each document why it goes, or None.
        everywhere: whether it judges held-out documents too. Others leave them alone, so that corpora which are
            filtered in different ways are measured on the same questions.
        cut: (documents, what it may know beside them) → the same documents, each with as much of its text as may stay;
            before it judges. None if it takes a document as it is.
    """

    judge: Callable[[list[Row], Any, Context], Reasons]
    everywhere: bool = False
    cut: Callable[[list[Row], Context], list[Row]] | None = None


FILTERS: dict[str, Filter] = {
    "exact_duplicates": Filter(exact.judge, everywhere=True),
    "language": Filter(language.judge),
    "quality": Filter(quality.judge),
    "repetition": Filter(repetition.judge),
    "personal_data": Filter(personal.judge),
    "abuse": Filter(abuse.judge),
    "near_duplicates": Filter(near.judge),
    "decontamination": Filter(decontamination.judge),
    "fluency": Filter(fluency.judge),
    "classifier": Filter(classifier.judge),
    "consistency": Filter(consistency.judge),
    "held_out_steps": Filter(steps.judge, cut=steps.cut),
}

__all__ = ["FILTERS", "Context", "Filter", "Reasons", "Row"]
