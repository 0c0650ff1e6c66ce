"""What an evaluation found, added to the MLflow run that made the model."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from nudge.training.tracking import made_by, store


def record(folder: Path, scores: dict[str, Any], wrong: list[dict[str, Any]]) -> None:
    """Add scores as metrics, `metrics.json` and the table `errors.json` to the newest run that made a model.

    A model from the cache of another machine has no run in this store: that is said, and nothing else happens.
    """
    try:
        run = _run_of(folder, "scores")
        if run is None:
            return
        client = store.client()
        for split in ("train", "test"):
            client.log_metric(run, f"{split}/exact_match", scores[split]["exact_match"])
            for name, values in scores[split]["by_operation"].items():
                client.log_metric(run, f"{split}/exact_match/{name}", values["exact_match"])
        client.log_metric(run, "test/loss", scores["test"]["loss"])
        client.log_dict(run, scores, "metrics.json")
        if wrong:
            client.log_table(run, {key: [row[key] for row in wrong] for key in wrong[0]}, "errors.json")
    except MlflowException as error:
        print(f"MLflow: scores not recorded ({error}); they are in reports/", file=sys.stderr)


def attach(folder: Path, report: dict[str, Any], name: str) -> None:
    """Add a report, as the JSON artifact `name`, to the newest run that made a model, or say why not."""
    try:
        run = _run_of(folder, name)
        if run is not None:
            store.client().log_dict(run, report, name)
    except MlflowException as error:
        print(f"MLflow: {name} not recorded ({error}); it is in reports/", file=sys.stderr)


def add_files(folder: Path, paths: Sequence[Path]) -> None:
    """Add files as artifacts to the newest run that made a model, or say why not."""
    try:
        run = _run_of(folder, ", ".join(path.name for path in paths))
        for path in paths if run is not None else ():
            store.client().log_artifact(run, str(path))
    except MlflowException as error:
        print(f"MLflow: {', '.join(map(str, paths))} not recorded ({error})", file=sys.stderr)


def tag(folder: Path, tags: dict[str, str]) -> None:
    """Set tags of the newest run that made a model, if the store has one."""
    try:
        run = made_by.run_of(folder)
        for key, value in tags.items() if run is not None else ():
            store.client().set_tag(run, key, value)
    except MlflowException as error:
        print(f"MLflow: {', '.join(tags)} not recorded ({error})", file=sys.stderr)


def _run_of(folder: Path, what: str) -> str | None:
    run = made_by.run_of(folder)
    if run is None:
        print(f"{folder}: no run in {store.uri()} made it; {what} in reports/ only", file=sys.stderr)
    return run
