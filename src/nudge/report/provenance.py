"""What made a model or a corpus: run, configuration and data, so that every number in the report leads back to them."""

import sys
from dataclasses import dataclass
from pathlib import Path

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
