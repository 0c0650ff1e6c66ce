"""A study by the real command, on tiny models, in a project of its own."""

import json
import os
import shutil
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from tests.conftest import REPOSITORY, runner


def run_study(folder: Path, name: str) -> tuple[Any, CompletedProcess[str]]:
    """Run `nudge study NAME --quick` under one seed; return its report, and how it ended, which was well."""
    for part in ("conf", "data"):
        shutil.copytree(REPOSITORY / part, folder / part)
    for part in ("dvc.yaml", "data.dvc"):
        shutil.copy(REPOSITORY / part, folder / part)
    where = {"NUDGE_PROJECT": str(folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = runner(folder)("nudge", "study", name, "--quick", "--seeds", "0", "--jobs", "1", **where)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / f"outputs/studies-quick/{name}/report.json").read_text()), done
