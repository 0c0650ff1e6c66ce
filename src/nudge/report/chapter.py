"""What a chapter of the report is: a template, its figures, and what each figure rests on.

A later chapter is a module in `chapters/` with a function `chapter(evidence) -> Chapter`, a template in `templates/`
that is named after the chapter's anchor, and a line in `chapters/__init__.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Chart:
    """One drawing.

    Attributes:
        name: unique in the page; the test and the glue in the page know it by this.
        spec: Vega-Lite, as `altair` writes it; its description is the text alternative.
        title: what tells it from the figure's other drawings; "" if it is the only one.
    """

    name: str
    spec: Mapping[str, Any]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """The numbers behind a figure, for those who would rather read them.

    Attributes:
        columns: headings.
        rows: cells; numbers as they are, to be rounded by the page.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Figure:
    """Drawings that show one thing together.

    Attributes:
        charts: the drawings, side by side where there is room.
        shows: one sentence that says what is to be seen.
        how: one sentence that says how it was obtained.
        made_by: the model folder, as `Evidence.made` names it, whose run the numbers come from.
        table: the numbers, where there are few enough to read.
        narrow: how wide one drawing must be at least, in px, before two stand side by side.
    """

    charts: Sequence[Chart]
    shows: str
    how: str
    made_by: str = "pretrain"
    table: Table | None = None
    narrow: int = 300


@dataclass(frozen=True)
class Missing:
    """A figure that can't be drawn, and the sentence that says what to run for it."""

    sentence: str


@dataclass(frozen=True)
class Chapter:
    """One chapter of the story.

    Attributes:
        title: its heading.
        anchor: its address in the page.
        template: the file in `templates/` that tells it; "" for the one named after the anchor.
        figures: by the name under which the template places them.
        facts: values for the template's sentences.
        made_by: the model folders whose runs the numbers of its sentences come from.
        part: what the part of the page is called that begins with it; "" where none begins.
    """

    title: str
    anchor: str
    figures: Mapping[str, Figure | Missing] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    made_by: Sequence[str] = ("pretrain",)
    template: str = ""
    part: str = ""
