"""Training in processes of their own, which tests watch, hurt and end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from nudge.training.tracking.journal import entries
from tests.conftest import TINY, environment

DRIVER = Path(__file__).with_name("broken_train.py")
STEPS = 300
# Steps of a few milliseconds, and a checkpoint now and then: something is lost when one dies.
LONG = (
    *TINY,
    f"trainer.max_steps={STEPS}",
    "trainer.val_every_n_steps=50",
    "callbacks.checkpoint.every_n_steps=20",
    "model.dropout=0.1",
)


def until(condition: Callable[[], bool], what: str, seconds: float = 90) -> None:
    """Wait for something to become true; fail if it doesn't."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)


class Training:
    """One `nudge train` in a process of its own.

    Args:
        project: the project to train in.
        run_dir: the run's folder.
        overrides: on the command line.
        broken: what goes wrong in it; see broken_train.py.
        environment: further variables.
    """

    def __init__(self, project: Path, run_dir: Path, *overrides: str, broken: str = "", **variables: str) -> None:
        self.run_dir = run_dir
        command = ["nudge"] if not broken else [sys.executable, str(DRIVER)]
        if broken:
            variables["NUDGE_TEST_BREAK"] = broken
        self.log = run_dir.with_suffix(".log")
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "train", *LONG, f"run_dir={run_dir}", *overrides],
                cwd=project,
                env=environment(OMP_NUM_THREADS="1", **variables),  # a small model gains nothing from more
                stdout=output,
                stderr=output,
                start_new_session=True,  # so that what it leaves behind can be found
            )

    def step(self) -> int:
        """Return the last step that its journal knows."""
        journal = entries(self.run_dir / "journal.jsonl")
        return max((entry["step"] for entry, _ in journal if "metrics" in entry), default=-1)

    def reach(self, step: int) -> "Training":
        """Wait until a step is done."""
        until(lambda: self.step() >= step or self.process.poll() is not None, f"step {step} in {self.run_dir}")
        assert self.process.poll() is None, self.output()
        return self

    def kill(self, signum: int = signal.SIGKILL) -> int:
        """Send a signal to the process that was started; return its exit code."""
        self.process.send_signal(signum)
        return self.end()

    def children(self) -> list[psutil.Process]:
        """Return the processes that it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, seconds: float = 120) -> int:
        """Wait for the end of the process and of all that it started; return its exit code, as shells count."""
        code = self.process.wait(seconds)
        until(lambda: not self.orphans(), f"the end of {self.orphans()}", 15)
        return 128 - code if code < 0 else code

    def orphans(self) -> list[int]:
        """Return the processes of its session that are still there."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return found

    def output(self) -> str:
        """Return what it printed."""
        return self.log.read_text(errors="replace")

    def record(self) -> dict[str, Any]:
        """Return its `run.json`."""
        found: dict[str, Any] = json.loads((self.run_dir / "run.json").read_text())
        return found
