"""The MLflow run of a whole sweep: the parent of its jobs' runs, and the place of its table and pictures."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from nudge.config.schema import Config
from nudge.training.tracking import lineage, store
from nudge.training.tracking.dead_runs import FOLDER, HOST, REASON

TABLE = "jobs.json"
# They differ from job to job.
OF_A_JOB = {"seed", "config.hash"}

logging.getLogger("mlflow").setLevel(logging.WARNING)


class ParentRun:
    """A sweep's run.

    Args:
        config: the configuration of one of the jobs: where to record, and from which code and data.
        run_id: the run of a sweep that is continued.

    Raises:
        UserError: the store can't be used, or the experiment was deleted.
    """

    def __init__(self, config: Config, run_id: str | None) -> None:
        self._client = store.client()
        self._config = config
        self.run_id = run_id if run_id and self._reopened(run_id) else self._created()

    def _reopened(self, run_id: str) -> bool:
        try:
            if REASON in self._client.get_run(run_id).data.tags:
                self._client.delete_tag(run_id, REASON)
            self._client.update_run(run_id, status="RUNNING")
        except MlflowException:  # another store than last time
            return False
        return True

    def _created(self) -> str:
        experiment = store.experiment_id(self._client, self._config.tracking.experiment)
        return str(self._client.create_run(experiment).info.run_id)

    def describe(self, name: str, folder: Path, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Say what the sweep varies, and where its lock is: a sweep that was killed is closed by the next start."""
        shared = {key: value for key, value in lineage.tags(self._config).items() if key not in OF_A_JOB}
        own = {HOST: os.uname().nodename, FOLDER: str(folder)}
        self._client.update_run(self.run_id, name=name)
        self._client.log_batch(
            self.run_id,
            params=[Param(key, value[:6000]) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in (shared | own | dict(tags)).items()],
        )

    def log(self, rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, float], pictures: Sequence[Path]) -> None:
        """Record how the sweep ended; what an earlier ending left is replaced."""
        columns = list(rows[0]) if rows else []
        data = [[row[column] for column in columns] for row in rows]
        # As `log_table` writes it; that would append to the table of an earlier ending.
        self._client.log_dict(self.run_id, {"columns": columns, "data": data}, TABLE)
        self._client.set_tag(self.run_id, "mlflow.loggedArtifacts", json.dumps([{"path": TABLE, "type": "table"}]))
        self._client.log_batch(self.run_id, metrics=[Metric(key, value, 0, 0) for key, value in metrics.items()])
        for picture in pictures:
            self._client.log_artifact(self.run_id, str(picture), "pictures")

    def close(self, status: str, reason: str | None = None) -> None:
        """End the run with FINISHED, FAILED or KILLED."""
        if reason:
            self._client.set_tag(self.run_id, REASON, reason)
        self._client.set_terminated(self.run_id, status)
