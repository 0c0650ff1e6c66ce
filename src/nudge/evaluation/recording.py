"""What an evaluation found, added to the MLflow run that made the model."""

import sys
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from nudge.model import saved
from nudge.training.tracking import store
from nudge.training.train import MODEL_DIGEST


def record(folder: Path, scores: dict[str, Any], wrong: list[dict[str, Any]]) -> None:
    """Add scores as metrics, `metrics.json` and the table `errors.json` to the newest run that made a model.

    A model from the cache of another machine has no run in this store: that is said, and nothing else happens.
    """
    try:
        client = store.client()
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        found = client.search_runs(
            experiments,
            f"tags.`{MODEL_DIGEST}` = '{saved.digest(folder)}'",
            order_by=["start_time DESC"],
            max_results=1,
        )
        if not found:
            print(f"{folder}: no run in {store.uri()} made it; the scores are in reports/ only", file=sys.stderr)
            return
        run = found[0].info.run_id
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
