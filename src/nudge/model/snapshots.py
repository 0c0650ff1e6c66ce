"""A run's weights at steps spaced evenly on a logarithmic scale: the film of how a model learned."""

import csv
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load_file

from nudge.errors import UserError
from nudge.model import saved
from nudge.model.saved import Saved

FOLDER = "snapshots"
BLAME = "blame.csv"  # columns step, by (part, layer or head), name, share


def file_name(step: int) -> str:
    """Name the file that holds the weights after `step` optimiser steps."""
    return f"step-{step:06d}.safetensors"


def steps_of(folder: Path) -> list[int]:
    """Return the steps of which `folder` (a model folder's `snapshots/`) holds weights, in order."""
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.safetensors"))


def load_all(model_folder: Path) -> Iterator[tuple[int, Saved]]:
    """Yield each snapshot's step and model, from the first to the last.

    Each model is a new one: a reader may keep them all (a few hundred KB each for the calculator).

    Raises:
        UserError: there are none, or a file is damaged.
    """
    folder = model_folder / FOLDER
    steps = steps_of(folder)
    if not steps:
        raise UserError(
            f"{folder}: no snapshots; the run that made this model kept none (callbacks.snapshots.count=20 keeps 20)"
        )
    for step in steps:
        whole = saved.load(model_folder)
        path = folder / file_name(step)
        try:
            weights = load_file(path)
            if whole.model.config.tied:
                weights.setdefault("lm_head.weight", weights["model.embed_tokens.weight"])
            whole.model.load_state_dict(weights)
        except Exception as error:  # safetensors and torch raise several kinds for a damaged file
            raise UserError(f"{path}: damaged snapshot ({str(error).splitlines()[0]})") from error
        yield step, whole


def blame(model_folder: Path) -> list[dict[str, str]]:
    """Read the blame by part, layer and head that each snapshot's gradient had; empty if none was kept."""
    path = model_folder / FOLDER / BLAME
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
