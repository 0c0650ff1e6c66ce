"""`dvc repro` and `dvc exp run` that are killed, hidden, queued or run in a worktree: nothing is lost, all is found."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from nudge.training.tracking import store
from tests.conftest import Command, Pipeline, environment, read_json
from tests.pipeline.test_repro import ran, replace
from tests.training.processes import until

# A model that trains in seconds.
SMALL = {
    "conf/model/calculator.yaml": ("width: 64", "width: 16"),
    "conf/trainer/default.yaml": ("max_steps: 1000", "max_steps: 60"),
    "conf/callbacks/default.yaml": ("every_n_steps: 100", "every_n_steps: 10"),
}


def client(folder: Path) -> store.MlflowClient:
    return store.MlflowClient(f"sqlite:///{folder}/mlflow.db")


def found_by(folder: Path, tag: str, value: str) -> list[dict[str, str]]:
    experiment = client(folder).get_experiment_by_name("nudge")
    assert experiment is not None
    runs = client(folder).search_runs([experiment.experiment_id], f"tags.`{tag}` = '{value}'")
    return [{"status": run.info.status, **run.data.tags} for run in runs]


@pytest.mark.parametrize("victim", ["nudge", "all"])
def test_a_killed_repro_goes_on_where_it_was(restored: Pipeline, victim: str) -> None:
    # DVC deletes outputs before a stage runs, so that an interrupted training could not continue (dvc #1214).
    folder, run, _ = restored
    for file, (old, new) in SMALL.items():
        replace(folder / file, old, new)
    replace(folder / "conf/config.yaml", "seed: 0", f"seed: {41 + len(victim)}")
    lock = (folder / "dvc.lock").read_bytes()
    record = folder / "outputs/pipeline/pretrain/run.json"
    before = read_json(record)["key"]
    repro = subprocess.Popen(
        ["dvc", "repro", "pretrain"], cwd=folder, env=environment(PYTHONPATH=str(folder / "src")),
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until(lambda: record.exists() and read_json(record)["key"] != before and read_json(record)["step"] >= 20, "step 20")
    if victim == "all":
        os.killpg(repro.pid, signal.SIGKILL)
    else:
        os.kill(read_json(record)["pid"], signal.SIGKILL)
    assert repro.wait(60) != 0
    first = read_json(record)
    stages = ["pretrain"] if victim == "all" else []
    assert (folder / "dvc.lock").read_bytes().count(b"pretrain:") == lock.count(b"pretrain:")
    again = run("dvc", "repro", "pretrain", PYTHONPATH=str(folder / "src"))
    assert again.returncode == 0, again.stdout + again.stderr
    assert ran(again.stdout)[-1:] == ["pretrain"], stages
    assert f"goes on after step {first['step']}" in again.stdout + again.stderr
    now = read_json(record)
    assert now["run_id"] == first["run_id"]
    assert now["status"] == "FINISHED"
    assert client(folder).get_run(now["run_id"]).info.status == "FINISHED"
    changed = run("dvc", "status", "--json", "pretrain")
    assert json.loads(changed.stdout) == {}
    # What was made of another configuration is not gone on with.
    replace(folder / "conf/optimizer/muon.yaml", "momentum: 0.95", "momentum: 0.9")
    other = run("dvc", "repro", "pretrain", PYTHONPATH=str(folder / "src"))
    assert other.returncode == 0, other.stderr
    assert "goes on" not in other.stdout + other.stderr
    assert read_json(record)["run_id"] != now["run_id"]


def small(*more: str) -> list[str]:
    values = [f"-S{file}:{new.replace(': ', '=')}" for file, (_, new) in SMALL.items() if "callbacks" not in file]
    return [*values, *(f"-S{value}" for value in more)]


def test_experiments_are_found_by_their_name_wherever_they_ran(restored: Pipeline, tmp_path: Path) -> None:
    # --temp and --queue work in a folder that DVC deletes, a failed one with its story (dvc #10616); no link led from
    # an experiment to its run (dvc #6668).
    folder, run, _ = restored
    source = {"PYTHONPATH": str(folder / "src")}
    bad = ["conf/optimizer/muon.yaml:lr=1e30", "conf/trainer/default.yaml:gradient_clip=0"]
    failed = run("dvc", "exp", "run", "--temp", "-n", "hidden-bad", "pretrain", *small(*bad), **source)
    assert failed.returncode != 0
    queued = run(
        "dvc", "exp", "run", "--queue", "-n", "queued", "pretrain", *small("conf/config.yaml:seed=7"), **source
    )
    assert queued.returncode == 0, queued.stderr
    done = run("dvc", "exp", "run", "--run-all", **source)
    assert done.returncode == 0, done.stdout + done.stderr
    worktree = tmp_path / "worktree"
    assert run("git", "worktree", "add", "-q", str(worktree)).returncode == 0
    there = {"cwd": worktree, "PYTHONPATH": str(worktree / "src")}
    assert run("dvc", "pull", "-q", "data.dvc", **there).returncode == 0
    done = run("dvc", "exp", "run", "-n", "aside", "pretrain", *small("conf/config.yaml:seed=8"), **there)
    assert done.returncode == 0, done.stdout + done.stderr

    assert [found["status"] for found in found_by(folder, "dvc.exp.name", "hidden-bad")] == ["FAILED"]
    assert "the loss is" in found_by(folder, "dvc.exp.name", "hidden-bad")[0]["ended.reason"]
    for name in ("queued", "aside"):
        found = found_by(folder, "dvc.exp.name", name)
        assert [one["status"] for one in found] == ["FINISHED"], name
        assert Path(found[0]["nudge.folder"]).is_dir(), "it outlives DVC's folder"
    assert not (worktree / "mlflow.db").exists()
    # And back: from the files of an experiment to its run.
    back = run("nudge", "lineage", "models/pretrain", "--json", **there)
    assert json.loads(back.stdout)["dvc.exp.name"] == "aside", back.stderr


def repeated(run: Command, line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run("bash", "-c", line, cwd=cwd, PYTHONPATH=str(cwd / "src"))


def test_the_line_in_a_runs_description_repeats_it(restored: Pipeline, tmp_path: Path) -> None:
    folder, run, _ = restored
    replace(folder / "conf/optimizer/muon.yaml", "momentum: 0.95", "momentum: 0.8")  # not committed
    done = run("nudge", "train", "experiment=smoke", "seed=3", "run_dir=outputs/of it", PYTHONPATH=str(folder / "src"))
    assert done.returncode == 0, done.stderr
    model = folder / "outputs/of it/model"
    found = run("nudge", "lineage", str(model / "config.json"), "--json")
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["git.commit"] == run("git", "rev-parse", "HEAD").stdout.strip()
    assert told["git.dirty"] == "true"
    run_id = read_json(folder / "outputs/of it/run.json")["run_id"]
    assert told["run_id"] == run_id
    description = client(folder).get_run(run_id).data.tags["mlflow.note.content"]
    assert told["repeat"] in description
    assert told["repeat"].startswith(f"git checkout {told['git.commit']} && ")
    assert told["repeat"].endswith("&& nudge train experiment=smoke seed=3 'run_dir=outputs/of it'")
    clone = tmp_path / "clone"
    assert run("git", "clone", "-q", str(folder), str(clone)).returncode == 0
    again = repeated(run, told["repeat"], clone)
    assert again.returncode == 0, again.stdout + again.stderr
    for name in ("model.safetensors", "nudge.json"):
        assert (clone / "outputs/of it/model" / name).read_bytes() == (model / name).read_bytes(), name
    plain = run("nudge", "lineage", str(model))
    assert told["repeat"] in plain.stdout
    unknown = run("nudge", "lineage", "dvc.yaml")
    assert (unknown.returncode, len(unknown.stderr.strip().splitlines())) == (2, 1)
