"""Three small models that every analysis is tried on: one has learned, one is untrained, one learned random answers.

An analysis must find in the first what is there, and must not find it in the two others.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nudge import project
from nudge.config.composition import compose
from nudge.data import corpora, documents
from nudge.evaluation import evaluate
from nudge.insight.questions import Questions
from nudge.model import saved
from nudge.model.saved import Saved
from nudge.training.train import train
from tests.conftest import REPOSITORY

# Numbers to 29, so that sums carry and operands have one word or two: learned in seconds by a small model.
FACTS = (
    "data.sources.calculator.max_operand=29",
    "data.validation_fraction=0.1",
    "data.test_fraction=0.15",
    "callbacks.samples.prompts=[two plus three equals]",
)
SMALL = (
    "callbacks.snapshots.count=8",
    "model.width=32",
    "model.mlp_width=64",
    "trainer.max_steps=400",
    "trainer.batch_size=256",
    "trainer.val_every_n_steps=100",
    "schedule.warmup_steps=20",
)


@dataclass(frozen=True)
class Learned:
    """A trained model and what it was trained on.

    Attributes:
        folder: the model folder, with its snapshots.
        saved: the model.
        splits: the documents of train, validation and test.
    """

    folder: Path
    saved: Saved
    splits: dict[str, list[dict[str, Any]]]

    def questions(self, *splits: str) -> Questions:
        """Return the questions of some splits."""
        return Questions.of(self.saved.tokenizer, [row for split in splits for row in self.splits[split]])


@pytest.fixture(scope="session")
def little_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project that has no corpus: each configuration gets its own."""
    folder = tmp_path_factory.mktemp("little")
    for name in ("conf", "data"):
        shutil.copytree(REPOSITORY / name, folder / name)
    for name in ("dvc.yaml", "data.dvc"):
        shutil.copy(REPOSITORY / name, folder / name)
    return folder


def learn(folder: Path, name: str, *overrides: str) -> Learned:
    """Train a small model in a project, as `nudge train` does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUDGE_PROJECT", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        project.root.cache_clear()
        project.home.cache_clear()
        config = compose([*SMALL, f"run_dir={folder}/runs/{name}", f"export_dir={folder}/models/{name}", *overrides])
        model = train(config)
        curated = corpora.prepare(config.data, config.tokenizer) / "curated"
    project.root.cache_clear()
    project.home.cache_clear()
    splits = {split: documents.read(curated / f"{split}.parquet").to_pylist() for split in documents.SPLITS}
    return Learned(model, saved.load(model), splits)


@pytest.fixture(scope="session")
def little(little_project: Path) -> Learned:
    """Train a small model that answers most of its facts, seen and unseen."""
    return learn(little_project, "little", *FACTS)


@pytest.fixture(scope="session")
def shuffled(little_project: Path) -> Learned:
    """Train the same model on shuffled answers: some of its training facts are right by heart, no others."""
    return learn(little_project, "shuffled", *FACTS, "data.sources.calculator.answers=shuffled")


@pytest.fixture(scope="session")
def untrained(little: Learned) -> Saved:
    """Give the weights that `little` began with."""
    return evaluate.untrained(little.saved)
