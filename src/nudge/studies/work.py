"""The process of one piece of work: `python -m nudge.studies.work MODULE:FUNCTION FOLDER ARGUMENTS`."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from nudge.data import files
from nudge.errors import RunError, UserError
from nudge.orphans import end_with_parent
from nudge.process import quick_imports

RESULT = "result.json"


def read(root: Path, name: str) -> Any:
    """Return what a piece of work returned, from the folder of all tasks."""
    return json.loads((root / name / RESULT).read_text(encoding="utf-8"))


def main() -> None:
    """Call the function, and write what it returns."""
    end_with_parent()
    where, folder, arguments = sys.argv[1:]
    module, name = where.split(":")
    with quick_imports():
        function = getattr(importlib.import_module(module), name)
    try:
        result = function(Path(folder), **json.loads(arguments))
    except (UserError, RunError) as error:
        print(f"nudge: {error}", file=sys.stderr)
        sys.exit(1)
    files.write_text(Path(folder) / RESULT, json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
