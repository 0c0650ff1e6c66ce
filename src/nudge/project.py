"""Where the project's own folders are, whatever folder a command is called from."""

import os
from functools import cache
from pathlib import Path

from nudge.errors import UserError

EXPERIMENTS = (".dvc", "tmp", "exps")


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


@cache
def home() -> Path:
    """Return the checkout whose MLflow store all its copies share.

    Copies are git worktrees, and the folders under `.dvc/tmp/exps` in which `dvc exp run --temp` and `--queue` work
    and which DVC deletes afterwards.
    """
    folder = root()
    if is_temporary():
        return next(parent.parents[2] for parent in folder.parents if parent.parts[-3:] == EXPERIMENTS)
    pointer = folder / ".git"
    if pointer.is_file():  # in a worktree: a line that says where in the main checkout's .git its own part is
        part = folder / pointer.read_text().removeprefix("gitdir:").strip()
        if (part / "commondir").is_file():
            main = (part / (part / "commondir").read_text().strip()).resolve().parent
            return main if _is_project(main) else folder
    return folder


def is_temporary() -> bool:
    """Say whether this is a folder in which DVC runs an experiment and which it deletes afterwards."""
    return any(parent.parts[-3:] == EXPERIMENTS for parent in root().parents)


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
