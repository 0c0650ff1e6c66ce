"""Where the project's own folders are, whatever folder a command is called from."""

import os
from functools import cache
from pathlib import Path

from nudge.errors import UserError


@cache
def root() -> Path:
    """Return the project's folder: the nearest one upwards with `dvc.yaml` and `conf/`, else where nudge is installed.

    `NUDGE_PROJECT` names it outright. The answer is kept, since a sweep may change the working directory.
    """
    if named := os.environ.get("NUDGE_PROJECT"):
        if not _is_project(Path(named)):
            raise UserError(f"NUDGE_PROJECT={named}: no project there; it must hold dvc.yaml and conf/config.yaml")
        return Path(named).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
        if _is_project(folder):
            return folder
    raise UserError(f"{here}: no nudge project here or above; call from a folder that holds dvc.yaml and conf/")


def _is_project(folder: Path) -> bool:
    return (folder / "dvc.yaml").is_file() and (folder / "conf" / "config.yaml").is_file()


def conf() -> Path:
    """Return the folder of Hydra configuration groups."""
    return root() / "conf"


def corpus() -> Path:
    """Return the folder of documents, splits and tokens that the data stages write."""
    return root() / "corpus"


def models() -> Path:
    """Return the folder of trained models, one subfolder a stage."""
    return root() / "models"


def reports() -> Path:
    """Return the folder of metrics, curves and tables."""
    return root() / "reports"
