"""What a study consists of: training runs and pieces of work, each with a folder of its own and done once."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nudge import project
from nudge.data import files

DONE = "done.json"
KEY = "key.txt"
MODEL = "model"  # folder of a finished run's model, in that of its task


@dataclass(frozen=True)
class Training:
    """An ordinary run of `nudge train`.

    Attributes:
        name: its folder below that of all studies, as in "rlhf_question/seed0/rlhf".
        overrides: what is typed after `nudge train`, but for where its files go.
        needs: names of tasks that must be done before.
    """

    name: str
    overrides: tuple[str, ...]
    needs: tuple[str, ...] = ()

    def told(self) -> list[str]:
        """Return what it is told to do, as far as that decides what comes out."""
        return ["train", *self.overrides]

    def command(self, root: Path, parent: str | None) -> list[str]:
        """Return the command that does it."""
        folder = root / self.name
        where = {"run_dir": folder / "run", "export_dir": folder / MODEL, "tracking.run_name": self.name}
        more = [f'{key}="{value}"' for key, value in where.items()]
        if parent is not None:
            more.append(f'tracking.parent="{parent}"')
        return [sys.executable, "-m", "nudge", "train", *self.overrides, *more]


@dataclass(frozen=True)
class Work:
    """A function in a process of its own: what is sampled, chosen or measured between runs.

    Attributes:
        name: as a run's.
        function: of a module; it is called with the task's folder and the arguments, and returns what JSON can hold.
        arguments: by name, what JSON can hold.
        needs: as a run's.
    """

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def told(self) -> list[str]:
        """Return what it is told to do."""
        return ["work", self._where(), json.dumps(self.arguments, sort_keys=True)]

    def command(self, root: Path, parent: str | None) -> list[str]:
        """Return the command that does it."""
        told = [self._where(), str(root / self.name), json.dumps(self.arguments)]
        return [sys.executable, "-m", "nudge.studies.work", *told]

    def _where(self) -> str:
        return f"{self.function.__module__}:{self.function.__name__}"


Task = Training | Work


@dataclass(frozen=True)
class Done:
    """What became of a task, as its `done.json` says.

    Attributes:
        key: of what it was told, and of what it was built upon.
        seconds: how long it took, over all its starts.
        commit: the code, at its end.
        run_id: its MLflow run; None for work.
        digest: of its model's weights; None for work.
        result: what work returned; None for runs.
    """

    key: str
    seconds: float
    commit: str
    run_id: str | None = None
    digest: str | None = None
    result: Any = None


def key_of(task: Task, keys: Mapping[str, str]) -> str:
    """Return a hash that changes with what a task is told, and with what any task before it was told."""
    content = [task.told(), [keys[need] for need in task.needs]]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=8).hexdigest()


def read(folder: Path, key: str) -> Done | None:
    """Return what became of the task of a folder; None if it isn't done, or was told something else."""
    try:
        content = json.loads((folder / DONE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Done(**content) if content["key"] == key else None


def write(folder: Path, done: Done) -> None:
    """Say that a task is done."""
    files.write_text(folder / DONE, json.dumps(vars(done), indent=1) + "\n")


def model(root: Path, name: str) -> str:
    """Return where the model of a run will be, as overrides name it: relative to the project, wherever that is."""
    return (root / name / MODEL).relative_to(project.root()).as_posix()
