"""Run a study: its tasks in the order of what they need, several at a time, none of them twice; then its report."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException

from nudge import orphans, project
from nudge.config.composition import compose
from nudge.data import files
from nudge.errors import RunError, UserError
from nudge.model import saved
from nudge.studies import tasks, work
from nudge.studies.tasks import KEY, MODEL, Done, Task, Training
from nudge.sweeps.parent import ParentRun
from nudge.training.tracking import lineage, record, store
from nudge.training.tracking.dead_runs import LOCK

LOG = "log.txt"
SECONDS_TO_END = 20  # that runs have to write a checkpoint when the study is stopped


@dataclass(frozen=True)
class Scope:
    """How much of a study is run.

    Attributes:
        root: the folder of all studies' tasks; an absolute path.
        seeds: of what comes after the base model.
        quick: tiny models and a few steps, to see that everything runs.
    """

    root: Path
    seeds: tuple[int, ...]
    quick: bool = False


Figures = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """A question with the runs that are to answer it.

    Attributes:
        name: of its report and its folder.
        question: in one line.
        seeds: by default.
        plan: the tasks, each after those that it needs.
        conclude: from what the tasks have found to figures and a verdict, as JSON holds them.
    """

    name: str
    question: str
    seeds: tuple[int, ...]
    plan: Callable[[Scope], Sequence[Task]]
    conclude: Callable[[Scope, Mapping[str, Done]], Figures]


def run(study: Study, seeds: tuple[int, ...] | None, quick: bool, jobs: int) -> Path:
    """Do what is not done yet of a study, and write its report; return that.

    `reports/studies/NAME.json`, or for a quick one, whose figures say nothing, a file beside its tasks.

    Raises:
        UserError: another study is running here.
        RunError: a task has failed; what was done before stays done.
    """
    root = project.root() / "outputs" / ("studies-quick" if quick else "studies")
    folder = root / study.name
    folder.mkdir(parents=True, exist_ok=True)
    scope = Scope(root, seeds or study.seeds, quick)
    try:
        # The folder's own says to the runs that the study's run is alive; the root's keeps studies apart.
        with FileLock(root / LOCK, timeout=0), FileLock(folder / LOCK, timeout=0):
            parent = ParentRun(compose(), folder, study.name)
            # As tags: a study that goes on may have more seeds, and MLflow's params never change.
            shown = {"study": study.name, "seeds": ",".join(map(str, scope.seeds)), "quick": str(quick).lower()}
            parent.describe({}, shown | {"stage": "study"})
            report = folder / "report.json" if quick else project.reports() / "studies" / f"{study.name}.json"
            try:
                _all(study, scope, jobs, parent, report)
            except BaseException as error:
                stopped = isinstance(error, KeyboardInterrupt)
                parent.close("KILLED" if stopped else "FAILED", str(error) or type(error).__name__)
                raise
            parent.close("FINISHED")
    except Timeout as error:
        raise UserError(f"{root}: a study is running there; wait for it") from error
    return report


def _all(study: Study, scope: Scope, jobs: int, parent: ParentRun, report: Path) -> None:
    planned = study.plan(scope)
    start = time.monotonic()
    done = do(planned, scope.root, jobs, parent.run_id)
    spent = time.monotonic() - start
    figures = study.conclude(scope, done)
    commits = {one.commit for one in done.values()}
    content = {
        "study": study.name,
        "question": study.question,
        "seeds": list(scope.seeds),
        "quick": scope.quick,
        "run": parent.run_id,
        "commits": sorted(commits),  # more than one: it was killed, and went on with other code
        "seconds": {
            "of_all_tasks": round(sum(one.seconds for one in done.values()), 1),
            "of_this_start": round(spent, 1),
            "jobs": jobs,
        },
        **figures,
        "tasks": {task.name: _shown(task, done[task.name]) for task in planned},
    }
    files.write_text(report, json.dumps(_rounded(content), indent=1) + "\n")
    parent.log(_rows(planned, done), _metrics(figures), [])
    try:
        store.client().log_artifact(parent.run_id, str(report))
    except MlflowException as error:
        print(f"MLflow: {report.name} not recorded ({error})", file=sys.stderr)


def _rounded(value: Any) -> Any:
    """Return the same with six digits of each number: more would only make the file long."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def do(planned: Sequence[Task], root: Path, jobs: int, parent: str | None) -> dict[str, Done]:
    """Do tasks, `jobs` at a time; return what became of each.

    Raises:
        RunError: one has failed; those that were running have been stopped.
    """
    keys: dict[str, str] = {}
    for task in planned:
        keys[task.name] = tasks.key_of(task, keys)
    done = {task.name: found for task in planned if (found := tasks.read(root / task.name, keys[task.name]))}
    waiting = [task for task in planned if task.name not in done]
    running: dict[str, tuple[Task, subprocess.Popen[bytes], float]] = {}
    try:
        while waiting or running:
            for task in [task for task in waiting if done.keys() >= set(task.needs)][: jobs - len(running)]:
                waiting.remove(task)
                running[task.name] = (task, _start(task, root, keys[task.name], parent), time.monotonic())
            time.sleep(0.05)
            for name, (task, process, since) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[name]
                seconds = time.monotonic() - since
                if process.returncode:
                    raise RunError(f"{name}: {_last_line(root / name)} (all of it in {root / name / LOG})")
                done[name] = _finished(task, root / name, keys[name], seconds)
                tasks.write(root / name, done[name])
                print(f"{name}: {seconds:.0f} s ({len(done)} of {len(planned)} done)", file=sys.stderr, flush=True)
    finally:
        _stop([process for _, process, _ in running.values()])
    return done


def _start(task: Task, root: Path, key: str, parent: str | None) -> "subprocess.Popen[bytes]":
    folder = root / task.name
    if folder.exists() and (not (folder / KEY).is_file() or (folder / KEY).read_text() != key):
        shutil.rmtree(folder)  # what was told something else can't be gone on with
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / KEY, key)
    own = {"OMP_NUM_THREADS": "1", orphans.PARENT: str(os.getpid()), "NUDGE_PROJECT": str(project.root())}
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            task.command(root, parent),
            cwd=project.root(),
            env=os.environ | own,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches the study alone, which then stops them
        )


def _stop(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _finished(task: Task, folder: Path, key: str, seconds: float) -> Done:
    commit = lineage.commit()
    if isinstance(task, Training):
        found = record.read(folder / "run")
        run_id = found.run_id if found else None
        return Done(key, round(seconds, 1), commit, run_id, saved.digest(folder / MODEL))
    return Done(key, round(seconds, 1), commit, result=json.loads((folder / work.RESULT).read_text(encoding="utf-8")))


def _last_line(folder: Path) -> str:
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "ended without a word")


def _shown(task: Task, done: Done) -> Figures:
    if isinstance(task, Training):
        return {"run": done.run_id, "model": done.digest, "seconds": done.seconds, "overrides": list(task.overrides)}
    return {"seconds": done.seconds, "arguments": dict(task.arguments)}


def _rows(planned: Sequence[Task], done: Mapping[str, Done]) -> list[dict[str, Any]]:
    return [{"task": task.name, "run": done[task.name].run_id, "seconds": done[task.name].seconds} for task in planned]


def _metrics(figures: Figures) -> dict[str, float]:
    return {key: float(value) for key, value in figures.get("metrics", {}).items() if value is not None}
