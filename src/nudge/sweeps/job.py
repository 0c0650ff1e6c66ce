"""What a launcher runs, here or in another process: one job, with a word at its begin and its end."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import TaskFunction
from omegaconf import DictConfig

from nudge.errors import RunError, Stopped, UserError
from nudge.sweeps import outcome

_stopped = False  # this process was told to end; a launcher may hand it another job nevertheless


@dataclass(frozen=True)
class Job:
    """The task of one job, in the clothes that a sweep needs.

    Attributes:
        task: what trains.
        project: the project's folder, which a process on another machine could not know.
        sweeper: id of the process that leads the sweep; its workers end with it.
        local: whether the launcher's processes run on this machine.
        keys: what the sweep varies.
        start_method: how a job's loader workers are started, as in the sweeper's process.
    """

    task: TaskFunction
    project: Path
    sweeper: int
    local: bool
    keys: frozenset[str]
    start_method: str

    def __call__(self, composed: DictConfig) -> None:
        """Run it; an error is noted in the job's folder, and raised for the launcher to see."""
        folder = Path(HydraConfig.get().runtime.output_dir)
        if _stopped:
            raise Stopped(signal.SIGTERM, "the sweep was stopped")
        if os.getpid() != self.sweeper:
            os.environ["NUDGE_PROJECT"] = str(self.project)
            if self.local:
                # joblib leaves its own way of starting processes behind, which needs to pickle a loader's data set.
                multiprocessing.set_start_method(self.start_method, force=True)
                _end_with(self.sweeper)
        outcome.begin(folder)
        varied = [text for text in HydraConfig.get().overrides.task if text.partition("=")[0] in self.keys]
        _tell(folder, " ".join(varied))
        error = self._attempt(composed, folder)
        gc.collect()  # a model and its optimiser refer to each other: twenty jobs must not pile up twenty
        ended = outcome.read(folder)
        score = "" if ended.score is None else f", best {ended.score:.4g}"
        _tell(folder, f"{ended.status}{score}" + (f": {ended.reason}" if ended.reason else ""))
        if error is not None:
            # A new one: the launcher keeps it, and the first one would keep the model through its traceback.
            raise RunError(error)

    def _attempt(self, composed: DictConfig, folder: Path) -> str | None:
        """Run the task; note an error in the job's folder and return it as one line."""
        global _stopped
        try:
            self.task(composed)
        except (KeyboardInterrupt, Stopped):
            _stopped = True
            outcome.end(folder, None)
            if self.local and os.getpid() != self.sweeper != os.getppid():
                os._exit(1)  # joblib would wait for jobs from a process that is gone
            raise
        except (UserError, RunError) as error:
            line: str | None = str(error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - one failing job never ends the others
            (folder / outcome.TRACEBACK).write_text(traceback.format_exc(), encoding="utf-8")
            line = f"{type(error).__name__}: {error}".split("\n")[0]
        else:
            line = None
        outcome.end(folder, line)
        return line


def _tell(folder: Path, text: str) -> None:
    print(f"job {folder.name}: {text}", file=sys.stderr, flush=True)


def _end_with(sweeper: int) -> None:
    """Stop this process when the sweep's own is gone: joblib's workers would go on, in folders that others use then."""
    if any(thread.name == "sweep-watch" for thread in threading.enumerate()):
        return

    def watch() -> None:
        while os.getppid() == sweeper:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="sweep-watch", daemon=True).start()
