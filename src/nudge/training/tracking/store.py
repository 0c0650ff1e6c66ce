"""Which MLflow store the runs go to: the project's own, or the one that MLFLOW_TRACKING_URI names."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

# Before the first import of mlflow: nothing is reported to anybody.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
# MLflow would try for minutes; here the journal keeps what could not be sent, and the sender tries again.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

import logging

from filelock import FileLock
from mlflow.entities import DatasetInput
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.tracking import MlflowClient

from nudge import project
from nudge.errors import RunError, UserError

# Its notes on database migrations are not for the reader of a training log.
logging.getLogger("alembic").setLevel(logging.WARNING)
logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)


SECONDS_TO_ANSWER = 4  # that a server has for the first question
# MLflow's UI shows an experiment of this kind with its pages for training runs.
KIND = {"mlflow.experimentKind": "custom_model_development"}


def own_uri() -> str:
    """Return the address of the project's own store, the same whatever the working directory, copy or worktree."""
    return f"sqlite:///{project.home() / 'mlflow.db'}"


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


def lasting(address: str) -> str:
    """Return an address as a run's folder keeps it: empty for the project's own store, which moves with the project."""
    return "" if address == own_uri() else address


def shown(address: str) -> str:
    """Return an address as a person may read it: without a password."""
    return redacted(address or own_uri())


def redacted(text: str) -> str:
    """Take user names and passwords out of the addresses in a text."""
    return re.sub(r"//[^/\s]*@", "//", text)


def client(lasting_address: str | None = None) -> MlflowClient:
    """Return a client of a store, named as `lasting` does; of the one that runs go to now if none is named."""
    address = _address(lasting_address)
    if not address.startswith("sqlite:///"):
        return MlflowClient(address)
    # MLflow makes the tables when it first opens the file; processes that start together must not all do it.
    path = Path(address.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):
        made = MlflowClient(address)
        made.search_experiments(max_results=1)
    return made


def check_reachable() -> None:
    """Ask the store that runs go to for anything, to know within seconds whether it is there.

    Raises:
        UserError: the address is wrong.
        RunError: nothing answers there.
    """
    address = uri()
    patience = os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(min(SECONDS_TO_ANSWER, int(patience)))
    try:
        client().search_experiments(max_results=1)
    except Exception as error:  # requests, SQLAlchemy and MLflow each raise their own
        reason = redacted(str(error).strip().split("\n")[0][:200])
        raise RunError(f"MLflow store {shown(address)}: no answer ({reason})") from error
    finally:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = patience


def _address(lasting_address: str | None) -> str:
    return uri() if lasting_address is None else lasting_address or own_uri()


def experiment_id(
    store: MlflowClient, name: str, lasting_address: str | None = None, kind: Mapping[str, str] = KIND
) -> str:
    """Return the id of an experiment, making one of that kind if there is none.

    Raises:
        UserError: it was deleted.
    """
    found = store.get_experiment_by_name(name)
    if found is None:
        try:
            place = artifacts(_address(lasting_address))
            return str(store.create_experiment(name, artifact_location=place, tags=dict(kind)))
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


def log_dataset(store: MlflowClient, run_id: str, used: DatasetInput) -> None:
    """Record what a run was trained on.

    MLflow looks whether it knows the data set, and then writes it: of runs that begin at the same moment, one is told
    that there is one already (IntegrityError, as status 400). It finds the other's when it asks again.
    """
    try:
        store.log_inputs(run_id, [used])
    except MlflowException as error:
        if error.get_http_status_code() != 400:
            raise
        store.log_inputs(run_id, [used])
