"""From a run's journal to MLflow: in order, each entry once, as soon as the store answers.

Sending may be repeated after a kill between a request and the note that it was done: MLflow keeps one of two equal
points (same key, step, time and value), and all other entries say how things are, not what to add to them.
"""

import math
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from nudge.data import files
from nudge.training.tracking import lineage, record, store
from nudge.training.tracking.journal import FILE as JOURNAL
from nudge.training.tracking.journal import Entry, entries

SENT = "journal.sent"  # how many bytes of the journal the store has
KEY_TAG, HOST, FOLDER = "nudge.key", "nudge.host", "nudge.folder"
METRICS_PER_REQUEST = 1000  # MLflow's limits for one log-batch request
PARAMS_PER_REQUEST = 100
FLUSH_SECONDS = 2.0
LONGEST_PAUSE = 30.0  # between two tries while the store does not answer
PATIENCE = 5.0  # seconds that the end of a run waits for a store that does not answer
SLOWEST_FILE = 300.0  # and for one that takes a large checkpoint


def unsent(folder: Path) -> bool:
    """Say whether a run's folder holds entries that its store does not have."""
    path = folder / JOURNAL
    return path.exists() and path.stat().st_size > _sent(folder)


def _sent(folder: Path) -> int:
    try:
        return min(int((folder / SENT).read_text()), (folder / JOURNAL).stat().st_size)
    except (OSError, ValueError):
        return 0


class Sender:
    """Send what is in a run's folder.

    Args:
        folder: the run's, with `run.json` and the journal.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        found = record.read(folder)
        assert found is not None
        self.record = found
        self._client: MlflowClient | None = None
        self._offset = _sent(folder)
        self._thread: threading.Thread | None = None
        self._finishing = threading.Event()
        self._deadline = math.inf
        self._beyond: list[Entry] = []
        self._lock = threading.Lock()
        self.problem: Exception | None = None

    @property
    def client(self) -> MlflowClient:
        """Return a client of the run's store."""
        if self._client is None:
            self._client = store.client(self.record.store)
        return self._client

    def run_id(self) -> str:
        """Return the run's id, creating the run if the store doesn't have it."""
        if self.record.run_id is None:
            experiment = store.experiment_id(self.client, self.record.experiment, self.record.store)
            # A kill between the creation and the note of the id must not make two.
            same = self.client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{self.record.key}'", max_results=1)
            # With these the next start finds and closes it, if this process goes no further.
            tags = {KEY_TAG: self.record.key, HOST: self.record.host, FOLDER: str(self._folder)}
            if self.record.parent:
                tags["mlflow.parentRunId"] = self.record.parent
            created = same or [self.client.create_run(experiment, self.record.started, tags, run_name=self.record.name)]
            self.record.run_id = created[0].info.run_id
            record.write(self._folder, self.record)
        return self.record.run_id

    def deliver(self) -> int:
        """Send everything that is in the journal now; return how many entries that were.

        Raises:
            Exception: whatever the store or the way to it did; what was sent before is noted.
        """
        with self._lock:
            self._settle()
            count = 0
            metrics: list[Metric] = []
            behind = self._offset
            for entry, end in entries(self._folder / JOURNAL, self._offset):
                points = _points(entry)
                if metrics and (not points or len(metrics) + len(points) > METRICS_PER_REQUEST):
                    self._send_metrics(metrics, behind)
                    metrics = []
                if points:
                    metrics += points
                else:
                    self._send(entry)
                    self._note(end)
                behind, count = end, count + 1
            if metrics:
                self._send_metrics(metrics, behind)
            while self._beyond:
                self._send(self._beyond[0])
                self._beyond.pop(0)
            return count

    def _settle(self) -> None:
        """Have the disk take what is about to be sent: what a loss of power took back would be told twice."""
        with (self._folder / JOURNAL).open("rb") as file:
            os.fsync(file.fileno())

    def tell(self, beyond: list[Entry]) -> None:
        """Take entries that the journal could not, because its disk is full; they are sent last."""
        self._beyond = beyond

    def _send_metrics(self, metrics: list[Metric], behind: int) -> None:
        for first in range(0, len(metrics), METRICS_PER_REQUEST):
            self.client.log_batch(self.run_id(), metrics=metrics[first : first + METRICS_PER_REQUEST])
        self._note(behind)

    def _note(self, offset: int) -> None:
        self._offset = offset
        with suppress(OSError):  # a full disk: then some is sent twice, and MLflow keeps one of each
            files.write_text(self._folder / SENT, str(offset))

    def _send(self, entry: Entry) -> None:
        run, client = self.run_id(), self.client
        if "params" in entry:
            params = [Param(key, value) for key, value in entry["params"].items()]
            for first in range(0, len(params), PARAMS_PER_REQUEST):
                client.log_batch(run, params=params[first : first + PARAMS_PER_REQUEST])
        elif "tags" in entry:
            client.log_batch(run, tags=[RunTag(key, value) for key, value in entry["tags"].items()])
        elif "untag" in entry:
            if entry["untag"] in client.get_run(run).data.tags:
                client.delete_tag(run, entry["untag"])
        elif "dataset" in entry:
            store.log_dataset(client, run, lineage.dataset_input(entry["dataset"]))
        elif "file" in entry:
            # One that is gone by now, say of a run that was started over, is not worth stopping all that follows.
            if (path := self._folder / entry["file"]).exists():
                client.log_artifact(run, str(path), entry.get("folder"))
        elif "status" in entry:
            if entry["status"] == "RUNNING":
                client.update_run(run, status="RUNNING")
            else:
                client.set_terminated(run, entry["status"], entry["time"])

    def start(self) -> None:
        """Send from a thread of its own from now on, every few seconds."""
        self._thread = threading.Thread(target=self._go_on, name="mlflow-sender", daemon=True)
        self._thread.start()

    def finish(self) -> bool:
        """Send the rest and end the thread; give up soon if the store doesn't answer. Say whether all was sent."""
        self._deadline = time.monotonic() + PATIENCE
        self._finishing.set()
        if self._thread is None:  # the run failed while it was opened
            try:
                self.deliver()
            except Exception as error:  # noqa: BLE001 - `nudge sync` will try again
                self.problem = error
        else:
            while self._thread.is_alive():
                before = self._offset
                self._thread.join(2 * PATIENCE if self.problem else SLOWEST_FILE)
                if self._offset == before:  # it stands still: a server that takes requests and never answers
                    break
        return not unsent(self._folder)

    def _go_on(self) -> None:
        pause, told = FLUSH_SECONDS, False
        while True:
            if not self._finishing.is_set():
                self._finishing.wait(pause)
            elif self.problem is not None:
                time.sleep(0.5)
            finishing = self._finishing.is_set()
            try:
                count = self.deliver()
            except Exception as error:  # noqa: BLE001 - training goes on whatever the store does
                final = is_final(error)
                if not told and (final or self.problem is not None):  # a busy database mends itself in one try
                    told = True
                    what = "refuses" if final else "does not answer"
                    print(
                        f"MLflow: {store.shown(self.record.store)} {what} ({first_line(error)}); training goes on, "
                        f"and what is to be recorded stays in {self._folder}",
                        file=sys.stderr,
                    )
                self.problem = error
                if finishing and (final or time.monotonic() > self._deadline):
                    return
                pause = min(LONGEST_PAUSE, 2 * pause)
                continue
            if told:
                print(f"MLflow: answers again; {count} entries were sent", file=sys.stderr)
            self.problem, pause, told = None, FLUSH_SECONDS, False
            if finishing:
                return


def _points(entry: Entry) -> list[Metric]:
    """Return an entry's metrics. An infinite one becomes NaN: MLflow would store it as a large number."""
    return [
        Metric(key, value if math.isfinite(value) else math.nan, entry["time"], entry["step"])
        for key, value in entry.get("metrics", {}).items()
    ]


def is_final(error: Exception) -> bool:
    """Say whether the store has understood the request and refuses it: the run was deleted there, say."""
    return isinstance(error, MlflowException) and error.get_http_status_code() in (400, 403, 404)


def first_line(error: Exception) -> str:
    """Say in one line what a store, or the way to it, had to complain about; without passwords."""
    return store.redacted(str(error).strip().split("\n")[0][:200]) or type(error).__name__
