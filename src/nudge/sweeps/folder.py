"""A sweep's folder: which one to go on with, which to make, and that no two sweeps share one."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel

from nudge.data.files import check_writable, write_text
from nudge.errors import UserError

FILE = "sweep.json"


class Sheet(BaseModel):
    """What `sweep.json` holds: enough to recognise the sweep and to go on with it.

    Attributes:
        identity: hash of what the sweep computes; equal for the same command on the same configuration.
        arguments: what was typed, for people.
        parent: id of its MLflow run.
        done: how many jobs of a search need no further attempt.
    """

    identity: str
    arguments: list[str]
    parent: str | None = None
    done: int = 0


def identity(parts: Any) -> str:
    """Hash what a sweep computes."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


@dataclass
class SweepFolder:
    """A folder that belongs to this process until `close`."""

    path: Path
    sheet: Sheet
    lock: FileLock

    @property
    def continued(self) -> bool:
        """Say whether an earlier process has begun it."""
        return self.sheet.parent is not None

    def save(self, **changes: Any) -> None:
        """Note what is new."""
        self.sheet = self.sheet.model_copy(update=changes)
        write_text(self.path / FILE, self.sheet.model_dump_json(indent=1) + "\n")

    def job(self, number: int) -> Path:
        """Return a job's folder."""
        return self.path / str(number)

    def close(self) -> None:
        """Let others have it."""
        self.lock.release()


def claim(
    folder: Path, named: bool, sheet: Sheet, anew: bool, unfinished: Callable[[Path, Sheet], bool]
) -> SweepFolder:
    """Return the newest folder of an unfinished sweep with the same identity, or a new one.

    Args:
        folder: where a new one would be.
        named: whether the user chose that place: then no other is looked at.
        sheet: what a new sweep would be.
        anew: whether to leave unfinished ones alone.
        unfinished: says of a folder whether there is something left to do.

    Raises:
        UserError: the place can't be used.
    """
    check_writable(folder)
    for place in [folder] if named else _newest_first(folder.parent):
        if not (place / FILE).is_file():
            continue
        found = Sheet.model_validate_json((place / FILE).read_text(encoding="utf-8"))
        if named and (anew or found.identity != sheet.identity):
            raise UserError(f"hydra.sweep.dir={folder}: holds another sweep; choose another folder")
        if anew or found.identity != sheet.identity or not (named or unfinished(place, found)):
            continue
        if (lock := _lock(place)) is not None:
            return SweepFolder(place, found, lock)
        if named:
            raise UserError(f"hydra.sweep.dir={folder}: a sweep is running there; choose another folder, or wait")
    folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder)
    if lock is None:
        raise UserError(f"hydra.sweep.dir={folder}: a sweep is running there; choose another folder, or wait")
    made = SweepFolder(folder, sheet, lock)
    made.save()
    return made


def _newest_first(folder: Path) -> Sequence[Path]:
    # Names begin with the time of the start.
    return sorted(folder.iterdir(), key=lambda path: path.name, reverse=True) if folder.is_dir() else []


def _lock(folder: Path) -> FileLock | None:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock
