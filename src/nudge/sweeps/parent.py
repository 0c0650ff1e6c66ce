"""The MLflow run of a whole sweep: the parent of its jobs' runs, and the place of its table and pictures."""

import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nudge.config.schema import Config
from nudge.data.files import write_text
from nudge.training.tracking import lineage, record, store
from nudge.training.tracking.dead_runs import REASON
from nudge.training.tracking.journal import FILE as JOURNAL
from nudge.training.tracking.journal import Journal
from nudge.training.tracking.record import Status
from nudge.training.tracking.run import TABLES
from nudge.training.tracking.sender import FOLDER, HOST, Sender, first_line

TABLE = "jobs.json"
# They differ from job to job.
OF_A_JOB = {"seed", "config.hash"}

logging.getLogger("mlflow").setLevel(logging.WARNING)


class ParentRun:
    """A sweep's run. What it has to tell goes through a journal in the sweep's folder, as with any run.

    Args:
        config: the configuration of one of the jobs: where to record, and from which code and data.
        folder: the sweep's; one that is continued holds its run.
        name: of the run.

    Raises:
        UserError: the store can't be used, or the experiment was deleted.
        RunError: the store does not answer.
    """

    def __init__(self, config: Config, folder: Path, name: str) -> None:
        store.check_reachable()
        self._config, self._folder = config, folder
        found, now = record.read(folder), record.new(config, {"data": "", "code": ""})
        continues = found is not None and found.store == now.store
        if found is not None and continues:
            now = found.model_copy(update={"status": "RUNNING", "reason": None, "host": now.host, "pid": now.pid})
        else:  # another store than last time knows nothing of it yet
            (folder / JOURNAL).unlink(missing_ok=True)
            now = now.model_copy(update={"name": name})
        record.write(folder, now)
        self._journal = Journal(folder / JOURNAL)
        self._sender = Sender(folder)
        if continues:
            self._journal.append({"status": "RUNNING"})
            self._journal.append({"untag": REASON})
        self.run_id = self._sender.run_id()

    def describe(self, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Say what the sweep varies, and where its lock is: a sweep that was killed is closed by the next start."""
        shared = {key: value for key, value in lineage.tags(self._config).items() if key not in OF_A_JOB}
        own = {HOST: os.uname().nodename, FOLDER: str(self._folder)}
        self._journal.append({"params": {key: value[:6000] for key, value in params.items()}})
        self._journal.append({"tags": shared | own | dict(tags)})
        self._send()

    def log(self, rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, float], pictures: Sequence[Path]) -> None:
        """Record how the sweep ended; what an earlier ending left is replaced."""
        columns = list(rows[0]) if rows else []
        data = [[row[column] for column in columns] for row in rows]
        write_text(self._folder / TABLE, json.dumps({"columns": columns, "data": data}))
        self._journal.append({"file": TABLE})
        self._journal.append({"tags": {TABLES: json.dumps([{"path": TABLE, "type": "table"}])}})
        self._journal.append({"metrics": dict(metrics), "step": 0, "time": time.time_ns() // 1_000_000})
        for picture in pictures:
            self._journal.append({"file": picture.relative_to(self._folder).as_posix(), "folder": "pictures"})

    def close(self, status: Status, reason: str | None = None) -> None:
        """End the run with FINISHED, FAILED or KILLED."""
        if reason:
            self._journal.append({"tags": {REASON: reason}})
        self._journal.append({"status": status, "time": time.time_ns() // 1_000_000})
        self._sender.record.status, self._sender.record.reason = status, reason
        record.write(self._folder, self._sender.record)
        self._send()

    def _send(self) -> None:
        try:
            self._sender.deliver()
        except Exception as error:  # noqa: BLE001 - jobs go on, and their table is shown, whatever the store does
            print(
                f"MLflow: {store.shown(self._sender.record.store)} does not answer ({first_line(error)}); "
                f"`nudge sync {self._folder}` sends the sweep later",
                file=sys.stderr,
            )
