"""What made a model, a corpus or a study, so that every number in the report leads back to runs and data."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from nudge.model import saved
from nudge.training.tracking import lineage, made_by, store

UNKNOWN = "not in this store"


@dataclass(frozen=True)
class Made:
    """Where a model comes from.

    Attributes:
        folder: the model folder, relative to the project.
        digest: SHA-256 of its weights.
        run: id of the MLflow run that made it.
        config: `config.hash` of that run.
        data: the hash under which DVC knows the documents that it was trained on.
        commit: the code's.
    """

    folder: str
    digest: str
    run: str
    config: str
    data: str
    commit: str

    @property
    def anchor(self) -> str:
        """Name its place in the page."""
        return "made-" + self.folder.replace("/", "-")

    @property
    def brief(self) -> str:
        """Say it in two words."""
        return f"model {self.digest[:8]}" if self.run == UNKNOWN else f"run {self.run[:8]}"

    @property
    def short(self) -> str:
        """Say it in a line."""
        if self.run == UNKNOWN:
            return f"model {self.digest[:8]}, data {self.data[:8]}; its run is {UNKNOWN}"
        return f"run {self.run[:8]}, configuration {self.config}, data {self.data[:8]}"

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Say it in full."""
        return [
            ("model", self.folder),
            ("run", self.run),
            ("configuration (config.hash)", self.config),
            ("data", self.data),
            ("code (git commit)", self.commit),
            ("weights (SHA-256)", self.digest),
        ]


@dataclass(frozen=True)
class Corpus:
    """A corpus that numbers were counted in.

    Attributes:
        folder: relative to the project.
        data: the hash under which DVC knows its curated documents.
        run: a corpus has none.
    """

    folder: str
    data: str
    run: str = UNKNOWN

    @property
    def anchor(self) -> str:
        """Name its place in the page."""
        return "made-" + self.folder.replace("/", "-")

    @property
    def brief(self) -> str:
        """Say it in two words."""
        return f"data {self.data[:8]}"

    @property
    def short(self) -> str:
        """Say it in a line."""
        return f"{self.folder}, data {self.data[:8]}"

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Say it in full."""
        return [("corpus", self.folder), ("data", self.data)]


@dataclass(frozen=True)
class Studied:
    """A study, whose result is kept in git, and the runs that it consists of.

    Attributes:
        folder: its file, relative to the project.
        run: id of the MLflow run that all of its runs are children of.
        commits: of the code.
        seeds: of its runs.
        runs: how many there were.
        hours: that they took together.
    """

    folder: str
    run: str
    commits: str
    seeds: str
    runs: int
    hours: float

    @property
    def anchor(self) -> str:
        """Name its place in the page."""
        return "made-" + self.folder.removesuffix(".json").replace("/", "-")

    @property
    def brief(self) -> str:
        """Say it in two words."""
        return f"run {self.run[:8]}"

    @property
    def short(self) -> str:
        """Say it in a line."""
        return f"{self.folder}, run {self.run[:8]}, {self.runs} training run{'s' * (self.runs != 1)}"

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Say it in full."""
        return [
            ("study", self.folder),
            ("run, and its children", self.run),
            ("seeds", self.seeds),
            ("training runs", f"{self.runs}, {self.hours:.1f} hours together"),
            ("code (git commit)", self.commits),
        ]


def of_study(told: Mapping[str, Any]) -> Studied:
    """Find what made a study's result, which says so itself."""
    runs = sum(isinstance(task, dict) and bool(task.get("run")) for task in told["tasks"].values())
    seconds = told["seconds"].get("of_all_tasks", 0.0)
    return Studied(
        f"reports/studies/{told['study']}.json",
        str(told["run"] or UNKNOWN),
        ", ".join(map(str, told["commits"])),
        ", ".join(map(str, told["seeds"])),
        runs,
        seconds / 3600,
    )


def of_corpus(folder: Path) -> Corpus:
    """Name the curated documents of a corpus."""
    return Corpus("/".join(folder.parts[folder.parts.index("corpus") :]), lineage.dvc_hash(folder / "curated"))


def of(folder: Path, corpus: Path | None) -> Made:
    """Find what made a model; what the store does not know is said to be unknown.

    Args:
        folder: the model folder.
        corpus: the corpus that it was trained on, to name the data even where the store has no run; None if that is
            not at hand.
    """
    name = "/".join(folder.parts[folder.parts.index("models") :]) if "models" in folder.parts else folder.name
    run, config, data, commit = UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN
    try:
        found = made_by.run_of(folder)
        if found is not None:
            made = store.client().get_run(found)
            run, config = found, made.data.tags.get("config.hash", UNKNOWN)
            commit = made.data.tags.get("git.commit", UNKNOWN)
            data = next((used.dataset.digest for used in made.inputs.dataset_inputs), UNKNOWN)
    except MlflowException as error:
        print(f"MLflow: can't be asked which run made {folder} ({error})", file=sys.stderr)
    if data == UNKNOWN and corpus is not None:
        data = lineage.dvc_hash(corpus / "curated")
    return Made(name, saved.digest(folder), run, config, data, commit)


Source = Made | Corpus | Studied
