"""`run.json`: what a run's folder says of it to those who come later, whatever became of its process."""

import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from nudge.config.schema import Config
from nudge.data import files
from nudge.errors import UserError
from nudge.training.tracking import store

FILE = "run.json"

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


class Record(BaseModel):
    """One run.

    Attributes:
        key: names the run before a server has given it an id, and finds it there again.
        store: address of its MLflow store; "" for the project's own, which may move with the project.
        experiment, name, parent: what it is called there, and the id of the sweep that it is part of.
        run_id: its id in the store; None until the store has answered.
        status, reason: how it ended.
        step: optimiser steps that its last checkpoint holds.
        score: best value of the monitored metric so far.
        started: milliseconds since 1970.
        config: the whole configuration.
        data, code: digests of the tokens and of the source code that it was started with.
        host, pid: where it runs.
        resumed: the steps at which it was continued.
        branched_from: the checkpoint of another run that it began with.
    """

    key: str
    store: str
    experiment: str
    name: str
    parent: str | None
    run_id: str | None = None
    status: Status = "RUNNING"
    reason: str | None = None
    step: int = 0
    score: float | None = None
    started: int
    config: dict[str, Any]
    data: str
    code: str
    host: str
    pid: int
    resumed: list[int] = []
    branched_from: str | None = None


def new(config: Config, digests: Mapping[str, str], branched_from: Path | None = None) -> Record:
    """Describe a run that begins now in this process."""
    return Record(
        key=secrets.token_hex(8),
        store=store.lasting(store.uri()),
        experiment=config.tracking.experiment,
        name=config.tracking.run_name or f"{config.stage.name}-seed{config.seed}",
        parent=config.tracking.parent,
        started=time.time_ns() // 1_000_000,
        config=config.model_dump(mode="json"),
        host=os.uname().nodename,
        pid=os.getpid(),
        branched_from=str(branched_from) if branched_from else None,
        data=digests["data"],
        code=digests["code"],
    )


def continued(record: Record, config: Config, digests: Mapping[str, str], step: int) -> Record:
    """Describe a run that goes on in this process after `step`."""
    now = new(config, digests)
    changes = {key: getattr(now, key) for key in ("config", "data", "code", "host", "pid", "status", "reason")}
    return record.model_copy(update={**changes, "step": step, "resumed": [*record.resumed, step]})


def read(folder: Path) -> Record | None:
    """Return the record in a run's folder; None if there is none.

    Raises:
        UserError: there is one that can't be read.
    """
    try:
        return Record.model_validate_json((folder / FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder / FILE}: unreadable ({str(error).splitlines()[0]}); choose another run_dir, or move it away"
        ) from error


def write(folder: Path, record: Record) -> None:
    """Put a record into a run's folder."""
    files.write_text(folder / FILE, json.dumps(record.model_dump(), indent=1) + "\n")
