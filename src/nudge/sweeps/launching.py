"""Jobs to Hydra's launcher, whichever it is; and what to do when it gives up."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from types import FrameType
from typing import Any

import psutil
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, read_write

from nudge import project
from nudge.errors import Stopped
from nudge.sweeps import outcome, slurm
from nudge.sweeps.folder import SweepFolder
from nudge.sweeps.job import Job
from nudge.sweeps.planning import quoted

GRACE_SECONDS = 30  # for jobs in other processes to write a last checkpoint: longer than trainer.grace_seconds


class Launching:
    """Run jobs in the folder of a sweep.

    Args:
        context, task, master: what Hydra gave the sweeper.
        folder: where the jobs' folders go.
        parent: id of the sweep's MLflow run.
        keys: what the sweep varies.
    """

    def __init__(
        self,
        context: HydraContext,
        task: TaskFunction,
        master: DictConfig,
        folder: SweepFolder,
        parent: str,
        keys: Iterable[str],
    ) -> None:
        with read_write(master):
            master.hydra.sweep.dir = str(folder.path)
        self._folder, self._parent = folder, parent
        self._slurm = "submitit" in master.hydra.launcher._target_
        # None: where the jobs run is not for us to say.
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context,
            task_function=Job(
                task, project.root(), os.getpid(), not self._slurm, frozenset(keys), multiprocessing.get_start_method()
            ),
            config=master,
        )

    def launch(self, jobs: Mapping[int, Sequence[str]]) -> None:
        """Run jobs, by number; return when each has ended, somehow.

        A launcher raises when a process was killed, and then forgets the jobs that have not begun. Those are launched
        again; the ones that had begun get one more chance, each alone, so that none drags another down.
        """
        waiting = dict(jobs)
        while waiting:
            error = self._attempt(waiting)
            open_jobs = {number: outcome.read(self._folder.job(number)).status for number in waiting}
            begun = [number for number, status in open_jobs.items() if status in ("running", "interrupted")]
            for number in begun:
                error = self._attempt({number: waiting[number]}) or error
                if outcome.read(self._folder.job(number)).status == "running":
                    outcome.end(self._folder.job(number), f"its process ended without a word ({error})")
            left = {number: waiting[number] for number, status in open_jobs.items() if status == "waiting"}
            if len(left) == len(waiting):
                for number in left:
                    outcome.end(self._folder.job(number), f"could not be started ({error})")
                return
            waiting = left

    def _attempt(self, jobs: Mapping[int, Sequence[str]]) -> str | None:
        """Hand jobs to the launcher; return why it gave up, or None."""
        complete = [
            [
                *overrides,
                f"hydra.sweep.dir={quoted(self._folder.path)}",
                f"hydra.sweep.subdir={number}",  # launchers count from the first job that they are given
                f"tracking.parent={self._parent}",
                "tracking.unreachable=go_on",  # the store answered when the sweep began; an outage ends no job
            ]
            for number, overrides in jobs.items()
        ]
        with self._stopping([self._folder.job(number) for number in jobs]):
            try:
                self._launcher.launch(complete, initial_job_idx=min(jobs))
            except Exception as error:  # noqa: BLE001 - every launcher has its own; the files say what became of each job
                line = f"{type(error).__name__}: {shorten(str(error), 300, placeholder=' …')}"
                print(f"launcher: {line}", file=sys.stderr)
                if self._slurm:
                    slurm.wait(self._folder.path)
                return line
        return None

    @contextmanager
    def _stopping(self, folders: Sequence[Path]) -> Iterator[None]:
        """Pass Ctrl-C and SIGTERM on to jobs in other processes, and let them write their checkpoints."""

        def stop(signum: int, frame: FrameType | None) -> None:
            for later in (signal.SIGINT, signal.SIGTERM):
                signal.signal(later, signal.SIG_IGN)
            for child in psutil.Process().children():
                child.terminate()
            if self._slurm:
                slurm.cancel(self._folder.path)
            deadline = time.monotonic() + GRACE_SECONDS
            while time.monotonic() < deadline and not all(map(outcome.is_over, folders)):
                time.sleep(0.2)
            raise Stopped(signum, "the sweep was stopped")

        before: dict[int, Any] = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
