"""Which MLflow store the runs go to: the project's own, or the one that MLFLOW_TRACKING_URI names."""

import os
from pathlib import Path
from urllib.parse import urlsplit

# Before the first import of mlflow: nothing is reported to anybody.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"

import logging

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.tracking import MlflowClient

from nudge import project
from nudge.errors import UserError

# Its notes on database migrations are not for the reader of a training log.
logging.getLogger("alembic").setLevel(logging.WARNING)
logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)


# MLflow's UI shows an experiment of this kind with its pages for training runs.
KIND = {"mlflow.experimentKind": "custom_model_development"}


def own_uri() -> str:
    """Return the address of the project's own store, the same whatever the working directory."""
    return f"sqlite:///{project.root() / 'mlflow.db'}"


def artifacts(address: str) -> str | None:
    """Return where the artifacts of a store go: beside an SQLite file; None where a server decides."""
    if not address.startswith("sqlite:///"):
        return None
    # MLflow's default would be the working directory.
    return (Path(address.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()


def uri() -> str:
    """Return the address of the store that runs go to.

    Raises:
        UserError: MLFLOW_TRACKING_URI names a folder; MLflow has given up file stores.
    """
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if not named:
        return own_uri()
    if urlsplit(named).scheme in ("", "file"):
        raise UserError(
            f"MLFLOW_TRACKING_URI={named}: folders can't be stores; "
            "write sqlite:///PATH or http://HOST:PORT, or unset it for the project's own"
        )
    return named


def client() -> MlflowClient:
    """Return a client of the store that runs go to."""
    return MlflowClient(uri())


def experiment_id(store: MlflowClient, name: str) -> str:
    """Return the id of an experiment, making it if there is none.

    Raises:
        UserError: it was deleted.
    """
    found = store.get_experiment_by_name(name)
    if found is None:
        try:
            return str(store.create_experiment(name, artifact_location=artifacts(uri()), tags=KIND))
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
            # Another process made it in between.
            found = store.get_experiment_by_name(name)
            assert found is not None
    if found.lifecycle_stage == "deleted":
        raise UserError(
            f"tracking.experiment={name}: was deleted; "
            f"`mlflow experiments restore -x {found.experiment_id}` brings it back, or choose another name"
        )
    return str(found.experiment_id)
