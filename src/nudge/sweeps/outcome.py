"""How a job ended, read from the files in its folder: the same for every launcher, and after a crash."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nudge.data.files import write_text

RUN = "run.json"  # the run's own account of itself
JOB = "job.json"  # what the sweep saw of it, for the time before and after the run
TRACEBACK = "error.txt"
PRUNED = "pruned: "  # how the reason of a run begins that a search gave up

Status = Literal["waiting", "running", "finished", "failed", "pruned", "interrupted", "impossible"]


@dataclass(frozen=True)
class Outcome:
    """How far a job is.

    Attributes:
        status: `impossible` is a combination that no run could start with; `interrupted` can go on.
        reason: one line on why it did not finish.
        step: the optimiser step that its last checkpoint holds.
        score: the best value of `callbacks.checkpoint.monitor`; None if there is none that is finite.
    """

    status: Status
    reason: str | None = None
    run_id: str | None = None
    step: int | None = None
    score: float | None = None

    @property
    def ended(self) -> bool:
        """Say whether the job would not go on if it were started again."""
        return self.status in ("finished", "pruned", "impossible")


def begin(folder: Path) -> None:
    """Note that a job has begun; forget how an earlier attempt failed."""
    write_text(folder / JOB, json.dumps({"over": False, "error": None}))
    (folder / TRACEBACK).unlink(missing_ok=True)


def end(folder: Path, error: str | None) -> None:
    """Note that nothing of a job goes on, and in one line why it failed."""
    write_text(folder / JOB, json.dumps({"over": True, "error": error}))


def is_over(folder: Path) -> bool:
    """Say whether nothing of a job goes on, its record in MLflow included; true before it has begun."""
    job = _read(folder / JOB)
    return job is None or bool(job["over"])


def read(folder: Path) -> Outcome:
    """Read how the job in a folder ended, or how far it is."""
    run, job = _read(folder / RUN), _read(folder / JOB)
    if job is None:
        return Outcome("waiting")
    error = job["error"]
    if run is None:
        return Outcome("failed", error) if error else Outcome("running")
    status, reason = run["status"], run.get("reason")

    def known(status: Status, reason: str | None = None) -> Outcome:
        return Outcome(status, reason, run["run_id"], run["step"], _finite(run["score"]))

    if status == "FINISHED":
        return known("finished")
    if status == "KILLED":
        if reason and reason.startswith(PRUNED):
            return known("pruned", reason.removeprefix(PRUNED))
        return known("interrupted", reason)
    if status == "FAILED" or error:
        return known("failed", error or reason)
    return known("running")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    assert isinstance(content, dict)
    return content


def _finite(score: float | None) -> float | None:
    return score if score is not None and math.isfinite(score) else None
