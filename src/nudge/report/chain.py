"""The chain from raw text to an assistant, read from disk in one place; what is not there is absent or None."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from nudge.config.data import DataConfig
from nudge.config.parsing import parse
from nudge.data import asking, corpora, documents, files, ratings
from nudge.data.chat import Assistant
from nudge.data.ratings import Rating
from nudge.model import saved
from nudge.model.saved import Saved
from nudge.report import reading
from nudge.report.chapter import Figure, Missing

STUDIES = {
    "rlhf_question": reading.QUESTION,
    "composition": reading.COMPOSITION,
    "overoptimisation": reading.OVEROPTIMISATION,
    "curation": reading.CURATION_STUDY,
    "reward_ceiling": reading.REWARD_CEILING,
    "scaling": reading.SCALING,
    "worked_steps": reading.WORKED_STEPS,
    "worked_rl": reading.WORKED_RL,
}
TALKING = ("base", "finetune", "rlhf")  # the stages whose models say something
STAGES = (*TALKING[:2], "reward", TALKING[2])
CALLED = {"base": "base", "finetune": "fine-tuned", "reward": "reward", "rlhf": "preferred"}
NOT_THERE = "not there: run `dvc repro {}`."
NOT_STUDIED = "not measured: run `nudge study {}`; its result is a file that is kept in git."
NOT_SCORED = "not measured: run `dvc repro evaluate`."


@dataclass(frozen=True)
class Chain:
    """What is known of the assistant and of how it came to be.

    Attributes:
        models: those that say something, by stage.
        metrics: what `evaluate` found, by stage.
        training, validation: curves by optimiser step, by stage.
        texts: the mixture's curated documents with `source`, `split` and, of facts, their numbers; None if it is
            not there.
        curation: how well the filters found what was planted.
        preferences: what `preferences` counted, of this fine-tuned model.
        rated: the ratings that reward models learn from, people's first.
        reward_config: of the run that made the reward model; None if there is none.
        studies: what long experiments found, by name; those that were not run are absent.
        folders: of the models that are there, by stage.
        why: for `curation` and `preferences`, the sentence to say where they are None.
    """

    models: Mapping[str, Saved]
    metrics: Mapping[str, dict[str, Any]]
    training: Mapping[str, pd.DataFrame]
    validation: Mapping[str, pd.DataFrame]
    texts: pd.DataFrame | None
    curation: dict[str, Any] | None
    preferences: dict[str, Any] | None
    rated: list[Rating]
    reward_config: dict[str, Any] | None
    studies: Mapping[str, dict[str, Any]]
    folders: Mapping[str, Path]
    why: Mapping[str, str]

    def test(self, stage: str) -> dict[str, Any] | None:
        """Return what `evaluate` found of a stage's model on test questions; None if it has not."""
        return self.metrics[stage]["test"] if stage in self.metrics else None

    def lacks(self, stage: str) -> str:
        """Say what to run where a stage's measures are not there."""
        return NOT_SCORED if stage in self.folders else NOT_THERE.format(stage)

    def of_study(self, name: str, draw: Callable[[Mapping[str, Any]], Figure | Missing]) -> Figure | Missing:
        """Draw what a study has found; if it was not run, say how to."""
        return Missing(NOT_STUDIED.format(name)) if name not in self.studies else draw(self.studies[name])

    @cached_property
    def phrases(self) -> Assistant | None:
        """Return how the assistant asks and answers; None if there is none."""
        for stage in ("rlhf", "finetune"):
            if stage in self.models:
                return asking.assistant_of(parse(DataConfig, self.models[stage].config["data"]))
        return None

    @cached_property
    def questions(self) -> list[dict[str, Any]]:
        """Return the test questions of the assistant's corpus: none is of a family that any training has seen."""
        for stage in ("rlhf", "finetune"):
            if stage in self.models:
                curated = corpora.of_model(self.models[stage].config, self.folders[stage]) / "curated"
                files.check_seal(curated, "curate")
                told: list[dict[str, Any]] = documents.read(curated / "test.parquet").to_pylist()
                return told
        return []


def read(models: Path, corpus: Path, reports: Path, metrics: Mapping[str, Any] | None) -> Chain:
    """Read what there is.

    Args:
        models, corpus, reports: the project's folders.
        metrics: what `evaluate` found of all stages.

    Raises:
        UserError: something is damaged.
    """
    folders = {stage: models / stage for stage in STAGES if (models / stage / "config.json").is_file()}
    curves = {
        name: {
            stage: reading.table(path / "curves" / f"{name}.csv", stage, ["step"]) for stage, path in folders.items()
        }
        for name in ("train", "validation")
    }
    preferences = reading.measures(reports / "preferences.json", "preferences", reading.PREFERENCES)
    why = {"curation": NOT_THERE.format("curation"), "preferences": NOT_THERE.format("preferences")}
    # The figures of another model must not be told as this one's.
    tuned = saved.digest(folders["finetune"]) if "finetune" in folders else None
    if tuned is None:
        preferences = None
    elif preferences is not None and preferences["model"]["digest"] != tuned:
        preferences = None
        why["preferences"] = "not shown: reports/preferences.json is about another model: run `dvc repro preferences`."
    texts = _texts(corpus / corpora.MIXTURE)
    curation = reading.measures(reports / "curation_mixture.json", "curation", reading.CURATION)
    if texts is None:
        curation, why["curation"] = None, NOT_THERE.format("curate-mixture curation")
    return Chain(
        models={stage: saved.load(folders[stage]) for stage in TALKING if stage in folders},
        metrics={stage: metrics[stage] for stage in folders if stage in (metrics or {})} if metrics else {},
        training={stage: told for stage, told in curves["train"].items() if told is not None},
        validation={stage: told for stage, told in curves["validation"].items() if told is not None},
        texts=texts,
        curation=curation,
        preferences=preferences,
        rated=_rated(corpus / "preferences" / ratings.FILE) if preferences is not None else [],
        reward_config=json.loads((folders["reward"] / "nudge.json").read_text()) if "reward" in folders else None,
        studies=_studies(reports / "studies"),
        folders=folders,
        why=why,
    )


def _studies(folder: Path) -> dict[str, dict[str, Any]]:
    read = {
        name: reading.measures(folder / f"{name}.json", name, shape, "nudge study") for name, shape in STUDIES.items()
    }
    return {name: told for name, told in read.items() if told is not None}


def _texts(mixture: Path) -> pd.DataFrame | None:
    if not (mixture / "curated").is_dir():
        return None
    files.check_seal(mixture / "curated", "curate-mixture")
    columns = ["text", "source", "operation", "left", "right"]
    parts = [
        documents.read(mixture / "curated" / f"{split}.parquet").select(columns).to_pandas().assign(split=split)
        for split in documents.SPLITS
    ]
    return pd.concat(parts, ignore_index=True)


def _rated(path: Path) -> list[Rating]:
    """Return the ratings that reward models learn from, people's before simulated ones."""
    return sorted(ratings.read(path), key=lambda one: one.simulated) if path.is_file() else []
