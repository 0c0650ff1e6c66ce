"""Runs whose process ended without a word: killed, out of memory, or with the machine. The next start closes them."""

import os
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from nudge.training.tracking import record, store
from nudge.training.tracking.journal import FILE as JOURNAL
from nudge.training.tracking.journal import Journal
from nudge.training.tracking.sender import FOLDER, HOST, Sender, first_line

REASON = "ended.reason"
LOCK = ".lock"
GONE = "its process is gone without a word: killed, out of memory, or the machine stopped"


def close_all(besides: Path) -> None:
    """Close the runs of this machine in the current store that nobody is working on any more.

    A run that is alive holds the lock of its folder; the system lets go of it when the process ends in any way.

    Args:
        besides: a folder whose run the caller takes care of.
    """
    this_host = f"attributes.status = 'RUNNING' and tags.`{HOST}` = '{os.uname().nodename}'"
    try:
        client = store.client()
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        running = client.search_runs(experiments, this_host)
    except Exception as error:  # noqa: BLE001 - the next start will look again
        print(f"MLflow: can't look for runs whose process is gone ({first_line(error)})", file=sys.stderr)
        return
    for run in running:
        folder = Path(run.data.tags[FOLDER])
        if folder == besides:
            continue
        try:
            if not folder.is_dir():
                _close_in_store(run)
            else:
                with FileLock(folder / LOCK, timeout=0):
                    _close(run, folder)
        except Timeout:
            continue  # alive
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one run must not keep others from starting
            print(f"MLflow: run {run.info.run_id} can't be closed ({first_line(error)})", file=sys.stderr)
            continue
        now = client.get_run(run.info.run_id)
        print(
            f"MLflow: closed run {run.info.run_id} ({run.info.run_name}), {now.info.status}: "
            f"{now.data.tags.get(REASON, 'its end had not been sent')}",
            file=sys.stderr,
        )


def _close(run: Run, folder: Path) -> None:
    found = record.read(folder)
    if found is not None and found.run_id == run.info.run_id:
        end(folder, GONE)
    else:
        _close_in_store(run)


def _close_in_store(run: Run) -> None:
    client = store.client()
    client.set_tag(run.info.run_id, REASON, GONE)
    client.set_terminated(run.info.run_id, "KILLED")


def end(folder: Path, reason: str) -> None:
    """End the run that a folder holds, with the reason, and send what can be sent; the caller holds its lock."""
    found = record.read(folder)
    assert found is not None
    if found.status == "RUNNING":
        journal = Journal(folder / JOURNAL)
        journal.append({"tags": {REASON: f"{reason}; last step known: {max(journal.last_step(), 0)}"}})
        journal.append({"status": "KILLED", "time": time.time_ns() // 1_000_000})
        journal.close()
        record.write(folder, found.model_copy(update={"status": "KILLED", "reason": reason}))
    try:
        Sender(folder).deliver()
    except (MlflowException, OSError) as error:  # requests' errors are OSErrors
        print(f"{folder}: its end is not sent yet ({str(error).splitlines()[0]})", file=sys.stderr)
