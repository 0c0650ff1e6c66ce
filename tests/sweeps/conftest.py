"""A project of its own for each file of tests, so that each counts its own runs."""

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from mlflow.entities import Run

from nudge.training.tracking import store
from tests.conftest import TINY, environment, runner


class Sweeps:
    """Sweeps in a project, and what they left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client = store.MlflowClient(f"sqlite:///{folder}/mlflow.db")
        self._run = runner(folder)

    def train(self, *overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Call `nudge train` with a tiny model."""
        return self._run("nudge", "train", *TINY, *overrides, **environment)

    def cut(self, sign: str, with_signal: signal.Signals, *overrides: str) -> str:
        """Start a sweep, and send it a signal when a line that matches `sign` appears; return what it printed."""
        with subprocess.Popen(
            ["nudge", "train", *TINY, *overrides],
            cwd=self.folder,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            seen = ""
            for line in process.stderr:
                seen += line
                if re.search(sign, line):
                    process.send_signal(with_signal)
                    sign = "(?!)"
            assert sign == "(?!)", seen
            assert process.wait(timeout=60) != 0
        return seen

    def runs(self, experiment: str) -> tuple[list[Run], list[Run]]:
        """Return the parents and the children of an experiment, by start."""
        found = self.client.get_experiment_by_name(experiment)
        assert found is not None
        runs = self.client.search_runs([found.experiment_id], order_by=["attributes.start_time"])
        return [run for run in runs if "sweep" in run.data.tags], [run for run in runs if "sweep" not in run.data.tags]

    def sweep(self, position: int = -1) -> Path:
        """Return the folder of a sweep; the newest one unless told otherwise."""
        return sorted((self.folder / "outputs/sweep").iterdir())[position]


@pytest.fixture(scope="module")
def sweeps(small_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    folder = tmp_path_factory.mktemp("sweeps") / "project"
    ignored = shutil.ignore_patterns("mlflow.db*", "mlartifacts", "outputs")
    shutil.copytree(small_project, folder, ignore=ignored)
    return Sweeps(folder)
