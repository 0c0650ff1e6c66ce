"""A finding of the insight stage as a chapter: the claim, the verdict, what decided it, and charts of its details."""

from collections.abc import Mapping, Sequence
from typing import Any

from nudge.report.chapter import Chapter, Figure, Missing, Table
from nudge.report.evidence import Evidence

MOST_ROWS = 80  # of a table of details that nothing draws; longer ones are only in reports/insight.json

Details = Mapping[str, Any]


def chapter(
    evidence: Evidence,
    hypothesis: str,
    title: str,
    anchor: str,
    intro: str,
    figures: Mapping[str, Figure | Missing],
    drawn: Sequence[str] = (),
) -> Chapter:
    """Tell of one hypothesis.

    Args:
        evidence: what is known.
        hypothesis: as the finding names it.
        title, anchor: of the chapter.
        intro: what is asked, and how it is tested, in a few sentences.
        figures: charts of its details, in the order in which they are shown.
        drawn: the tables of its details that these charts show; of the others, short ones follow as tables.
    """
    found = evidence.finding(hypothesis)
    return Chapter(
        title,
        anchor,
        figures if found else {},
        {
            "intro": intro,
            "finding": found,
            "missing": evidence.why["insight"],
            "tables": _tables(found, drawn) if found else [],
        },
        template="finding.html",
    )


def rows(found: Mapping[str, Any] | None, table: str, *columns: str) -> list[dict[str, Any]]:
    """Return the rows of a finding's table of details that have a value in each of these columns."""
    told = (found or {}).get("details", {}).get(table)
    if not isinstance(told, list):
        return []
    return [row for row in told if isinstance(row, dict) and all(row.get(column) is not None for column in columns)]


def _tables(found: Mapping[str, Any], drawn: Sequence[str]) -> list[tuple[str, Table]]:
    """Return the short tables among the details that no chart shows."""
    tables = []
    for name, told in found.get("details", {}).items():
        if name in drawn or not isinstance(told, list) or not 0 < len(told) <= MOST_ROWS:
            continue
        if all(
            isinstance(row, dict) and all(not isinstance(cell, dict | list) for cell in row.values()) for row in told
        ):
            columns = list(told[0])
            tables.append((name.replace("_", " "), Table(columns, [[row.get(key) for key in columns] for row in told])))
    return tables
