"""Sweeps over a grid, through the real command: jobs, their parent, failures, cuts, and jobs at the same time."""

import signal
import subprocess

import pandas
import psutil
import pytest
from safetensors import safe_open

from nudge.sweeps import outcome
from tests.conftest import TINY, environment, read_json
from tests.sweeps.conftest import Sweeps

# Long enough to be cut in the middle.
LONGER = ("trainer.max_steps=200", "callbacks.checkpoint.every_n_steps=5", "callbacks.progress.every_n_steps=5")


def test_a_failing_job_ends_no_other_and_is_named(sweeps: Sweeps) -> None:
    # One bad combination ended everything (hydra #2551); an exported MLFLOW_RUN_ID took children over (mlflow #15713).
    untouched = sweeps.client.create_run(sweeps.client.create_experiment("elsewhere")).info.run_id
    sweeps.client.set_terminated(untouched)
    before = sweeps.client.get_run(untouched).to_dictionary()
    overrides = [
        "-m",
        "tracking.experiment=failing",
        "model.heads=2,3",
        "callbacks.checkpoint.monitor=val/loss,val/lost",
    ]
    done = sweeps.train(*overrides, MLFLOW_RUN_ID=untouched)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "nudge: 3 of 4 jobs failed: 1, 2, 3; the others have ended well"
    assert "width 16 is not divisible by heads 3" in done.stderr
    assert "val/lost: no such metric (did you mean 'val/loss'?)" in done.stderr
    assert sweeps.client.get_run(untouched).to_dictionary() == before
    (parent,), (child,) = sweeps.runs("failing")
    assert (parent.info.status, child.info.status) == ("FAILED", "FINISHED")
    assert parent.data.tags["ended.reason"] == "jobs that failed: 1, 2, 3"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.run_name == "model.heads=2 callbacks.checkpoint.monitor=val/loss"
    assert parent.data.params == {"model.heads": "2,3", "callbacks.checkpoint.monitor": "val/loss,val/lost"}
    table = pandas.read_json(sweeps.client.download_artifacts(parent.info.run_id, "jobs.json"), orient="split")
    assert list(table["status"]) == ["finished", "failed", "impossible", "impossible"]
    assert table["run_id"][0] == child.info.run_id
    # Again: only what could end otherwise is tried once more.
    done = sweeps.train(*overrides)
    assert done.returncode == 1, done.stderr
    assert next(line for line in done.stderr.splitlines() if line.startswith("job ")).startswith("job 1: ")
    assert "job 0:" not in done.stderr
    assert [len(runs) for runs in sweeps.runs("failing")] == [1, 1]


def test_a_job_is_what_it_would_be_alone(sweeps: Sweeps) -> None:
    # Jobs in one process shared state (hydra #2187).
    done = sweeps.train("-m", "tracking.experiment=alone", "seed=1,2,3")
    assert done.returncode == 0, done.stderr
    done = sweeps.train("tracking.experiment=alone", "seed=3", f"run_dir={sweeps.folder}/alone")
    assert done.returncode == 0, done.stderr
    (parent,), children = sweeps.runs("alone")
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 5
    *_, third, alone = children
    for name in ("train/loss", "val/loss", "grad/norm"):
        series = [
            [(point.step, point.value) for point in sweeps.client.get_metric_history(run.info.run_id, name)]
            for run in (third, alone)
        ]
        assert series[0] == series[1], name
    with (
        safe_open(sweeps.sweep() / "2/model/model.safetensors", "pt") as one,
        safe_open(sweeps.folder / "alone/model/model.safetensors", "pt") as other,
    ):
        assert all(one.get_tensor(key).equal(other.get_tensor(key)) for key in other.keys())  # noqa: SIM118
    assert third.data.tags["config.hash"] == alone.data.tags["config.hash"]
    assert parent.data.metrics["best/val/exact_match"] == max(run.data.metrics["val/exact_match"] for run in children)
    pictures = {file.path for file in sweeps.client.list_artifacts(parent.info.run_id, "pictures")}
    assert "pictures/parallel_coordinates.png" in pictures


def test_a_sweep_that_was_killed_goes_on_where_it_stopped(sweeps: Sweeps) -> None:
    overrides = ["-m", *LONGER, "tracking.experiment=killed", "seed=1,2,3"]
    seen = sweeps.cut("^step 10/", signal.SIGKILL, *overrides, "seed=4,5")
    assert "job 0: seed=4" in seen
    (parent,), (child,) = sweeps.runs("killed")
    assert (parent.info.status, child.info.status) == ("RUNNING", "RUNNING"), "nobody was left to say more"
    folder = sweeps.sweep()
    # Another sweep leaves it alone, but closes the runs that nobody is working on.
    done = sweeps.train("-m", "tracking.experiment=killed", "seed=9")
    assert done.returncode == 0, done.stderr
    assert sweeps.sweep() != folder
    parents, _ = sweeps.runs("killed")
    assert [run.info.status for run in parents] == ["KILLED", "FINISHED"]
    done = sweeps.train(*overrides, "seed=4,5")
    assert done.returncode == 0, done.stderr
    assert f"going on in {folder}" in done.stderr
    assert f"{folder}/0: goes on after step" in done.stderr
    (again, _), children = sweeps.runs("killed")
    assert again.info.run_id == parent.info.run_id
    assert again.info.status == "FINISHED"
    assert "ended.reason" not in again.data.tags
    mine = [run for run in children if run.data.tags["mlflow.parentRunId"] == parent.info.run_id]
    assert [run.info.status for run in mine] == ["FINISHED"] * 2
    assert mine[0].info.run_id == child.info.run_id
    for run in mine:
        steps = [point.step for point in sweeps.client.get_metric_history(run.info.run_id, "train/loss")]
        assert steps == list(range(1, 201))


def test_jobs_at_the_same_time_stop_together_and_go_on(sweeps: Sweeps) -> None:
    # Loader workers failed in joblib's processes (hydra #964); its processes survived the one that started them.
    overrides = ["-m", *LONGER, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "trainer.num_workers=1"]
    overrides += ["tracking.experiment=parallel", "seed=1,2,3"]
    seen = sweeps.cut("^step 10/", signal.SIGTERM, *overrides)
    assert "nudge: the sweep was stopped" in seen
    left = [one for one in psutil.process_iter(["cwd", "cmdline"]) if one.info["cwd"] == str(sweeps.folder)]
    assert not [one for one in left if "loky" in " ".join(one.info["cmdline"] or [])]
    folder = sweeps.sweep()
    cut = [outcome.read(folder / str(number)) for number in range(3)]
    assert [one.status for one in cut].count("waiting") >= 1
    # The one that has printed its step 10; the other may still have been setting up.
    assert max(one.step or 0 for one in cut if one.status == "interrupted") >= 10, "it left a checkpoint"
    (parent,), children = sweeps.runs("parallel")
    assert parent.info.status == "KILLED"
    assert {run.info.status for run in children} == {"KILLED"}
    done = sweeps.train(*overrides)
    assert done.returncode == 0, done.stderr
    (parent,), children = sweeps.runs("parallel")
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 4
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}


def test_a_job_whose_process_is_killed_gets_another_chance_alone(sweeps: Sweeps) -> None:
    # joblib gives up all jobs when one process dies, for example because memory is short.
    overrides = ["-m", *LONGER, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "tracking.experiment=dying"]
    overrides += ["seed=1,2"]
    with subprocess.Popen(
        ["nudge", "train", *TINY, *overrides], cwd=sweeps.folder, env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        seen = ""
        for line in process.stderr:
            if "step 10/" in line and "step 10/" not in seen:
                begun = next(path for path in sweeps.sweep().glob("*/run.json") if read_json(path)["run_id"])
                psutil.Process(read_json(begun)["pid"]).kill()
            seen += line
        assert process.wait(timeout=60) == 0, seen
    assert "launcher: TerminatedWorkerError" in seen
    (parent,), children = sweeps.runs("dying")
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3


def test_jobs_of_several_processes(sweeps: Sweeps) -> None:
    # Further processes repeated the command line, and with it the whole sweep (LHT #393).
    done = sweeps.train("trainer=ddp_cpu", "-m", "tracking.experiment=processes", "seed=1,2", *LONGER[1:])
    assert done.returncode == 0, done.stderr
    (parent,), children = sweeps.runs("processes")
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3
    for run in children:
        assert len(sweeps.client.get_metric_history(run.info.run_id, "train/loss")) == 8


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("-m model.widht=3,4", "nudge: model.widht: unknown key (did you mean 'model.width'?)"),
        ("-m model.heads=3,5", "width 16 is not divisible by heads 3"),
        ("-m model.width=interval(3,5)", "a grid needs single values, as in model.width=1,2,3"),
        ("-m seed=1,2 export_dir=models/x", "all jobs of a sweep would write there"),
        ("-m seed=1,2 hydra/launcher=jobib", "(did you mean 'joblib'?)"),
        ("sweep=optimisers", "unknown sweep 'optimisers' (did you mean 'optimizers'?)"),
        ("-m hydra/sweeper=optuna", "nothing to search"),
        ("-m seed=1,2 hydra/sweeper=optuna hydra.sweeper.sampler=best", "hydra.sweeper.sampler = 'best': input should"),
        ("-m seed=1,2 hydra/sweeper=optuna hydra.sweeper.trials=9", "hydra.sweeper.trials: unknown key"),
        (
            "-m seed=1,2 hydra/sweeper=optuna hydra.sweeper.storage=postgresql+psycopg://me:secret@host/db",
            "hydra.sweeper.storage: holds a password",
        ),
        ("-m seed=1,2 hydra/sweeper=optuna hydra.sweeper.storage=nowhere", "storage=nowhere: can't be opened"),
    ],
)
def test_wrong_sweeps_are_one_line_and_leave_nothing(sweeps: Sweeps, overrides: str, expected: str) -> None:
    before = sorted((sweeps.folder / "outputs").glob("*/*"))
    done = sweeps.train(*overrides.split())
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert sorted((sweeps.folder / "outputs").glob("*/*")) == before
