"""Documents that a task chose or made up, for `stage.examples` of a run after it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nudge import project
from nudge.data import files

FILE = "examples.jsonl"
KEYS = ("prompt", "text", "operation", "left", "right")


def write(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write documents into a task's folder."""
    lines = [json.dumps({key: row[key] for key in KEYS}) for row in rows]
    files.write_text(folder / FILE, "\n".join(lines) + "\n")


def override(folder: Path) -> str:
    """Return what a run is told to learn from them."""
    return f"stage.examples={(folder / FILE).relative_to(project.root()).as_posix()}"
