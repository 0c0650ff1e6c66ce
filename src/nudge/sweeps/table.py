"""The closing table: one row a job, the best one first seen."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.console import Console
from rich.table import Table

from nudge.sweeps.outcome import Outcome

WHY_WIDTH = 90  # of a reason in the printed table; the run's record has all of it


@dataclass(frozen=True)
class Row:
    """One job: its number, the values that it was given, and how it ended."""

    number: int
    values: Mapping[str, str]
    outcome: Outcome


def best(rows: Sequence[Row], mode: str) -> Row | None:
    """Return the finished job with the best score, the first of equal ones; None if no job has one."""
    scored = [row for row in rows if row.outcome.status == "finished" and row.outcome.score is not None]
    sign = -1 if mode == "max" else 1
    return min(scored, key=lambda row: sign * (row.outcome.score or 0.0), default=None)


def show(rows: Sequence[Row], metric: str, winner: Row | None, folder: Path) -> None:
    """Print the table to stderr."""
    print(f"sweep in {folder}", file=sys.stderr)
    table = Table()
    for column in ("job", *rows[0].values, "status", metric, "saved step", "why"):
        table.add_column(column, justify="right" if column in ("job", metric, "saved step") else "left")
    for row in rows:
        cells = [str(row.number), *map(_short, row.values.values()), row.outcome.status, _number(row.outcome.score)]
        cells += ["" if row.outcome.step is None else str(row.outcome.step)]
        cells += [shorten(row.outcome.reason or "", WHY_WIDTH, placeholder=" …")]
        table.add_row(*cells, style="bold" if row is winner else None)
    console = Console(stderr=True, highlight=False)
    Console(file=sys.stderr, width=console.width if console.is_terminal else 160, highlight=False).print(table)
    if winner is not None:
        chosen = " ".join(f"{key}={value}" for key, value in winner.values.items())
        print(f"best: job {winner.number}, {metric} {_number(winner.outcome.score)}: {chosen}", file=sys.stderr)


def records(rows: Sequence[Row], metric: str) -> list[dict[str, Any]]:
    """Return the rows for the record, with the ids of their runs."""
    return [
        {"job": row.number, **row.values, "status": row.outcome.status, metric: row.outcome.score}
        | {"step": row.outcome.step, "why": row.outcome.reason, "run_id": row.outcome.run_id}
        for row in rows
    ]


def _short(value: str) -> str:
    """Leave four digits of a number that a sampler drew; the line of the best job has them all."""
    try:
        return f"{float(value):.4g}" if len(value) > 8 else value
    except ValueError:
        return value


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
