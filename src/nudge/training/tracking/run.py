"""One MLflow run as a Lightning logger: metrics go out in batches from a thread of their own."""

import queue
import re
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning_utilities.core.rank_zero import rank_zero_only
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from pytorch_lightning.loggers.logger import Logger

from nudge import project
from nudge.config.schema import Config
from nudge.training.tracking import lineage, store

FLUSH_SECONDS = 2.0
METRICS_PER_REQUEST = 1000  # MLflow's limits for one log-batch request
PARAMS_PER_REQUEST = 100
PARAM_LENGTH = 6000


class MlflowRun(Logger):
    """Record a run: parameters, tags and data when it opens, metrics while it goes on, artifacts and status at its end.

    `log_metrics` only puts into a queue. Rank 0 alone talks to the store.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._config = config
        self._queue: queue.SimpleQueue[Metric | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._writer_error: Exception | None = None
        self._id: str | None = None

    @property
    def name(self) -> str:
        """Return the experiment's name."""
        return self._config.tracking.experiment

    @property
    def version(self) -> str | None:
        """Return the run's id; None before it is open and on other ranks than 0."""
        return self._id

    @rank_zero_only  # type: ignore[misc]
    def open(self) -> None:
        """Create the run with its parameters, tags, dataset and `config.yaml`.

        Raises:
            UserError: the store can't be used, or the experiment was deleted.
        """
        config = self._config
        self._client = store.client()
        tags = lineage.tags(config) | {key: str(value) for key, value in config.tracking.tags.items()}
        if config.tracking.parent is not None:
            tags[MLFLOW_PARENT_RUN_ID] = config.tracking.parent
        name = config.tracking.run_name or f"{config.stage.name}-seed{config.seed}"
        experiment = store.experiment_id(self._client, config.tracking.experiment)
        self._id = self._client.create_run(experiment, run_name=name).info.run_id
        params = [Param(key, value) for key, value in _flat(config.model_dump(mode="json")).items()]
        clean_tags = [RunTag(key, value) for key, value in _cleaned(tags).items()]
        for first in range(0, len(params), PARAMS_PER_REQUEST):
            self._client.log_batch(self._id, params=params[first : first + PARAMS_PER_REQUEST])
        self._client.log_batch(self._id, tags=clean_tags)
        self._client.log_inputs(self._id, [lineage.dataset(project.corpus() / "curated")])
        self._client.log_text(self._id, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), "config.yaml")
        self._writer = threading.Thread(target=self._write, name="mlflow-writer", daemon=True)
        self._writer.start()

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: `open` has logged the configuration."""

    @rank_zero_only  # type: ignore[misc]
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Queue metrics of optimiser step `step`."""
        now = time.time_ns() // 1_000_000
        for key, value in metrics.items():
            self._queue.put(Metric(clean(key), float(value), now, step or 0))

    @rank_zero_only  # type: ignore[misc]
    def log_table(self, rows: list[dict[str, Any]], file: str) -> None:
        """Append rows to a table artifact, which the MLflow UI shows as one."""
        if rows:
            self._client.log_table(self._id, {key: [row[key] for row in rows] for key in rows[0]}, file)

    @rank_zero_only  # type: ignore[misc]
    def set_tag(self, key: str, value: str) -> None:
        """Set a tag."""
        self._client.set_tag(self._id, key, value)

    @rank_zero_only  # type: ignore[misc]
    def log_folder(self, path: Path, name: str) -> None:
        """Copy what a folder holds to the folder `name` of the run's artifacts."""
        self._client.log_artifacts(self._id, str(path), name)

    @rank_zero_only  # type: ignore[misc]
    def close(self, status: str, reason: str | None = None) -> None:
        """Send what is queued and end the run with FINISHED, FAILED or KILLED, and the reason as a tag."""
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
        if self._id is None:
            return
        if self._writer_error is not None:
            print(f"MLflow: metrics are missing from run {self._id}: {self._writer_error}", file=sys.stderr)
        if reason:
            self._client.set_tag(self._id, "ended.reason", reason[:PARAM_LENGTH])
        self._client.set_terminated(self._id, status)

    def _write(self) -> None:
        """Take metrics from the queue until None comes; send them every few seconds, in requests of limited size."""
        waiting: list[Metric] = []
        deadline = time.monotonic() + FLUSH_SECONDS
        going_on = True
        while going_on:
            try:
                metric = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
                going_on = metric is not None
                if metric is not None:
                    waiting.append(metric)
            except queue.Empty:
                pass
            if not going_on or len(waiting) >= METRICS_PER_REQUEST or time.monotonic() >= deadline:
                try:
                    for first in range(0, len(waiting), METRICS_PER_REQUEST):
                        self._client.log_batch(self._id, metrics=waiting[first : first + METRICS_PER_REQUEST])
                except Exception as error:  # noqa: BLE001 - training goes on whatever the store does
                    self._writer_error = error
                waiting = []
                deadline = time.monotonic() + FLUSH_SECONDS


def clean(name: str) -> str:
    """Make a name that MLflow takes: letters, digits, and `_-. :/`; others become `_`."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _cleaned(values: Mapping[str, str]) -> dict[str, str]:
    """Clean all keys; keys that become equal get numbers, so that none is lost."""
    result: dict[str, str] = {}
    for key, value in values.items():
        name, number = clean(key), 2
        while name in result:
            name, number = f"{clean(key)}_{number}", number + 1
        result[name] = value
    return result


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    """Flatten a nested configuration to MLflow params: `model.width` → "64"; over-long values say so."""
    flat: dict[str, str] = {}

    def walk(value: Any, key: str) -> None:
        if isinstance(value, Mapping) and value:
            for name, inner in value.items():
                walk(inner, f"{key}.{name}" if key else str(name))
            return
        text = str(value)
        more = " … (whole in config.yaml)"
        flat[key] = text if len(text) <= PARAM_LENGTH else text[: PARAM_LENGTH - len(more)] + more

    walk(config, "")
    return _cleaned(flat)
