"""Tallies of one run's measures, kept in its task's folder, and those of several runs put together."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nudge.evaluation.tallies import Figure, Tally, figure

FILE = "tallies.npz"
PARTS = ("top", "bottom", "clusters")


def write(folder: Path, tallies: Mapping[str, Tally]) -> None:
    """Write `tallies.npz`: of each measure `NAME:top`, `NAME:bottom` and `NAME:clusters`."""
    arrays = {f"{name}:{part}": getattr(tally, part) for name, tally in tallies.items() for part in PARTS}
    np.savez_compressed(folder / FILE, **arrays)


def figures(folders: Sequence[Path]) -> dict[str, Figure]:
    """Return each measure over the runs that wrote into folders, which measured the same questions."""
    found = [dict(np.load(folder / FILE)) for folder in folders]
    names = sorted({key.rpartition(":")[0] for key in found[0]})
    return {name: figure([Tally(*(one[f"{name}:{part}"] for part in PARTS)) for one in found]) for name in names}
