"""`nudge grokking`: from learning by heart to understanding, over the snapshots of a run on modular addition."""

import sys
from pathlib import Path

from nudge import project
from nudge.data import files
from nudge.evaluation.recording import add_files
from nudge.insight import grokking as measuring
from nudge.training.reference import find_folder

TABLE, PICTURE = "grokking.csv", "grokking.png"


def grokking(reference: str, into: Path | None) -> None:
    """Write a table and a picture, and add both to the run that made the model.

    Args:
        reference: the model, with its snapshots.
        into: the folder to write in; default: reports/.

    Raises:
        UserError: there is no such model folder, it has no snapshots, or it adds no numbers modulo another.
    """
    folder = find_folder(reference)
    frame = measuring.measure(folder)
    into = into or project.reports()
    with files.replacing(into / TABLE) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")
    with files.replacing(into / PICTURE) as temporary:
        measuring.picture(frame).save(str(temporary), format="png", scale_factor=2)
    add_files(folder, [into / TABLE, into / PICTURE])
    print(frame.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    print(f"picture: {into / PICTURE}", file=sys.stderr)
