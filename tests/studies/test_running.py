"""The frame of studies, with real runs: what is done stays done, what was killed goes on, what changes runs again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nudge import studies
from nudge.config.composition import compose
from nudge.studies.running import Scope
from nudge.studies.tasks import Training
from nudge.training.tracking import store
from tests.conftest import environment

# One run after the other; `longer` alone is told how long it is.
STUDY = """
import sys
from pathlib import Path
from nudge.studies import running
from nudge.studies.running import Study
from nudge.studies.tasks import Training

def plan(scope):
    tiny = ("experiment=smoke", "trainer.max_steps=4", "trainer.val_every_n_steps=4", "schedule.warmup_steps=1")
    longer = (*tiny[:1], "trainer.max_steps=" + sys.argv[1], *tiny[3:], "trainer.batch_size=16")
    return [Training("toy/first", tiny), Training("toy/longer", longer, ("toy/first",))]

def conclude(scope, done):
    return {"metrics": {"tasks": float(len(done))}}

running.run(Study("toy", "does it run?", (0,), plan, conclude), None, False, 2)
"""


def start(project: Path, steps: int) -> "subprocess.Popen[str]":
    where = environment(NUDGE_PROJECT=str(project), OMP_NUM_THREADS="1")
    where["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    command = [sys.executable, "-c", STUDY, str(steps)]
    return subprocess.Popen(command, env=where, stderr=subprocess.PIPE, text=True)


def test_a_killed_study_goes_on_where_it_was(in_project: Path) -> None:
    toy = in_project / "outputs/studies/toy"
    killed = start(in_project, 100_000)
    journal = toy / "longer/run/journal.jsonl"
    deadline = time.monotonic() + 600
    while not (journal.is_file() and "train/loss" in journal.read_text()):
        assert killed.poll() is None, killed.stderr and killed.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first = (toy / "first/done.json").read_bytes()
    killed.send_signal(signal.SIGKILL)
    killed.wait()

    again = start(in_project, 6)  # told something else, the run that was cut begins anew
    _, said = again.communicate(timeout=900)
    assert again.returncode == 0, said
    assert (toy / "first/done.json").read_bytes() == first
    assert "toy/longer" in said
    assert "toy/first" not in said

    report = json.loads((in_project / "reports/studies/toy.json").read_text())
    assert list(report["tasks"]) == ["toy/first", "toy/longer"]
    assert report["tasks"]["toy/longer"]["overrides"][1] == "trainer.max_steps=6"
    assert report["metrics"] == {"tasks": 2.0}
    client = store.client()
    parent = client.get_run(report["run"])
    assert parent.info.status == "FINISHED"
    assert "ended.reason" not in parent.data.tags  # no run of the study took it for dead
    for name, task in report["tasks"].items():
        run = client.get_run(task["run"])
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["model.digest"] == task["model"]
        assert run.info.run_name == name

    third = start(in_project, 6)
    _, said = third.communicate(timeout=900)
    assert third.returncode == 0, said
    assert "toy/" not in said  # nothing was left to do


@pytest.mark.parametrize("name", studies.NAMES)
@pytest.mark.parametrize("quick", [False, True])
def test_every_run_of_a_study_is_one_that_can_be_asked_for(in_project: Path, name: str, quick: bool) -> None:
    """A misspelt key in the last arm would be noticed after twenty minutes."""
    planned = studies.find(name).plan(Scope(in_project / "outputs/studies", (0,), quick))
    names = [task.name for task in planned]
    assert len(set(names)) == len(names)
    for place, task in enumerate(planned):
        assert set(task.needs) <= set(names[:place]), task.name
        if isinstance(task, Training):
            compose(task.overrides)
