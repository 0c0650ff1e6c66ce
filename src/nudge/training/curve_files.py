"""A run's metrics as two plain tables for plots: one row a step, one file for training and one for validation."""

import csv
from collections import defaultdict
from pathlib import Path

from nudge.data.files import replacing
from nudge.training.tracking.journal import entries

# Speed differs from one repeat to the next; the curves of a repeat are the same to the last digit.
NOT_REPEATABLE = "throughput/"


def export_curves(journal: Path, folder: Path) -> None:
    """Turn the metrics of a run's journal into `train.csv` and `validation.csv`."""
    rows: dict[str, dict[int, dict[str, float]]] = {"train": defaultdict(dict), "validation": defaultdict(dict)}
    for entry, _ in entries(journal):
        for key, value in entry.get("metrics", {}).items():
            if not key.startswith(NOT_REPEATABLE):
                validated = key.startswith(("val/", "train/exact_match", "data/"))
                rows["validation" if validated else "train"][entry["step"]][key] = value
    for name, by_step in rows.items():
        columns = sorted({key for values in by_step.values() for key in values})
        with replacing(folder / f"{name}.csv") as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["step", *columns], lineterminator="\n")
            writer.writeheader()
            writer.writerows({"step": step, **by_step[step]} for step in sorted(by_step))
