"""`nudge lineage`: from a model, or any file of it, to the run that made it and the line that repeats it."""

import json
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from rich.console import Console
from rich.table import Table

from nudge.errors import UserError
from nudge.model import saved
from nudge.training.tracking import made_by, record, store
from nudge.training.tracking.lineage import NOTE
from nudge.training.tracking.sender import first_line

SHOWN = ("git.commit", "git.dirty", "dvc.data", "dvc.exp.name", "config.hash", "seed", "stage")


def lineage(path: Path, as_json: bool) -> None:
    """Print where a file came from.

    Args:
        path: a model folder, something in one, or something in a run's folder, such as a checkpoint.

    Raises:
        UserError: no run in the store made it.
    """
    store.check_reachable()
    try:
        run = _run_of(path)
    except MlflowException as error:
        raise UserError(f"{path}: its run is not in the store any more ({first_line(error)})") from error
    found: dict[str, Any] = {
        "path": str(path),
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "status": run.info.status,
        "store": store.shown(store.lasting(store.uri())),
        **{key: run.data.tags[key] for key in SHOWN if key in run.data.tags},
        "data": {one.dataset.name: one.dataset.digest for one in run.inputs.dataset_inputs},
        "repeat": run.data.tags.get(NOTE, "").split("```bash\n")[-1].removesuffix("\n```"),
    }
    if as_json:
        print(json.dumps(found))
        return
    table = Table(box=None, show_header=False)
    for key, value in found.items():
        if key != "repeat":
            table.add_row(key, " ".join(f"{k} {v}" for k, v in value.items()) if key == "data" else str(value))
    Console().print(table)
    print(f"\n{found['repeat']}")


def _run_of(path: Path) -> Run:
    if not path.exists():
        raise UserError(f"{path}: no such file; name a model folder, such as models/pretrain")
    client = store.client()
    for folder in (path.resolve(), *path.resolve().parents):
        if (folder / saved.WEIGHTS).is_file():
            run_id = made_by.run_of(folder)
            if run_id is None:
                raise UserError(
                    f"{path}: no run in {store.shown(store.lasting(store.uri()))} made it; was it another store?"
                )
            return client.get_run(run_id)
        of = record.read(folder)
        if of is not None:
            if of.run_id is None:
                raise UserError(f"{path}: its run is not in a store yet; `nudge sync {folder}` sends it")
            return store.client(of.store).get_run(of.run_id)
    raise UserError(f"{path}: neither part of a model folder nor of a run's folder")
