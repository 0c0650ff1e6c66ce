"""Grokking: a model learns its training sums by heart, and long after that, suddenly, all others.

What is measured is Nanda et al.'s (2023, arXiv:2301.05217, section 5): as the held-out sums come, the weights shrink
and the numbers' embeddings keep few waves.
"""

from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from nudge.data import corpora, documents
from nudge.errors import UserError
from nudge.evaluation.answers import score
from nudge.insight import fourier
from nudge.insight.learning import weight_norm
from nudge.model import snapshots
from nudge.model.saved import Saved

COLUMNS = {
    "step": "optimiser steps taken",
    "train_loss": "nats per token of the answers of training sums, the end token included",
    "held_out_loss": "the same of the validation split",
    "train_exact_match": "share of training sums that are answered exactly",
    "held_out_exact_match": "the same of the validation split",
    "weight_norm": "L2 norm of all weights",
    "fourier_top_share": f"share of the power of the numbers' embeddings in their {fourier.TOP} strongest frequencies",
    "fourier_gini": "Gini coefficient of the sizes of these frequencies: 0 all equal, 1 only one",
}
SPLITS = {"train": "train", "held_out": "validation"}
# Panels from top to bottom: title of the axis, and the columns with what the legend calls them.
PANELS: list[tuple[str, dict[str, str]]] = [
    ("loss (nats)", {"train_loss": "training", "held_out_loss": "held out"}),
    ("exact match", {"train_exact_match": "training", "held_out_exact_match": "held out"}),
    ("weight norm", {"weight_norm": "all weights"}),
    ("waves", {"fourier_top_share": f"{fourier.TOP} strongest", "fourier_gini": "Gini"}),
]
WIDTH, HEIGHT = 480, 110  # pixels of a panel


def measure(folder: Path) -> pd.DataFrame:
    """Measure every snapshot of a model trained on modular addition; a row a snapshot, `COLUMNS` the columns.

    Args:
        folder: the model folder, with its snapshots.

    Raises:
        UserError: it has no snapshots, or its corpus no sums of number tokens.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    measured = []
    for step, snapshot in snapshots.load_all(folder):
        if not rows:
            where = corpora.of_model(snapshot.config, folder) / "curated"
            rows = {name: documents.read(where / f"{split}.parquet").to_pylist() for name, split in SPLITS.items()}
        measured.append({"step": step, **_measure(snapshot, rows, folder)})
    return pd.DataFrame(measured, columns=list(COLUMNS))


def _measure(snapshot: Saved, rows: dict[str, list[dict[str, Any]]], folder: Path) -> dict[str, float]:
    power_F = fourier.power_spectrum(embeddings(snapshot, folder))
    found = {
        "weight_norm": weight_norm(snapshot.model),
        "fourier_top_share": fourier.top_share(power_F),
        "fourier_gini": fourier.gini(power_F),
    }
    for name, of_split in rows.items():
        scored = score(snapshot, of_split)
        tokens = sum(len(row["text"].split()) - len(row["prompt"].split()) + 1 for row in scored.rows)
        found[f"{name}_loss"] = float(scored.surprisal_N.sum()) / tokens if tokens else float("nan")
        found[f"{name}_exact_match"] = float(scored.right_N.mean()) if tokens else float("nan")
    return found


@torch.inference_mode()
def embeddings(saved: Saved, folder: Path) -> NDArray[np.float64]:
    """Return the embeddings of the numbers 0, 1, … modulus − 1, a row each.

    Raises:
        UserError: the vocabulary does not write them in digits, each as one token.
    """
    vocabulary = saved.tokenizer.get_vocab()
    said = sorted(int(word) for word in vocabulary if word.isdecimal())
    if len(said) < 3 or said != list(range(len(said))):
        raise UserError(f"{folder}: no model of modular addition; its words lack the numbers 0, 1, 2, … in digits")
    ids = [vocabulary[str(number)] for number in said]
    return np.asarray(saved.model.model.embed_tokens.weight[ids].double().cpu().numpy())


def picture(frame: pd.DataFrame) -> alt.VConcatChart:
    """Draw what `measure` returns: four panels over one axis of steps, logarithmic from step 1 on."""
    last = int(frame["step"].max())
    ticks = [0, *(10**power for power in range(len(str(last))))]
    panels = [_panel(frame, title, named, ticks) for title, named in PANELS]
    return (
        alt.vconcat(*panels, spacing=8)
        .resolve_scale(x="shared", color="independent")
        .properties(description="Loss, exact match, weight norm and waves in the embeddings against optimiser steps.")
    )


def _panel(frame: pd.DataFrame, title: str, named: dict[str, str], ticks: list[int]) -> alt.Chart:
    long = frame.rename(columns=named).melt("step", list(named.values()), "of", "value")
    lowest = title == PANELS[-1][0]
    steps = alt.Axis(values=ticks, labels=lowest, title="optimiser steps" if lowest else None)
    return (
        alt.Chart(long, width=WIDTH, height=HEIGHT)
        .mark_line(point=alt.OverlayMarkDef(size=12))
        .encode(
            x=alt.X("step:Q", axis=steps, scale=alt.Scale(type="symlog")),
            y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=True)),
            color=alt.Color("of:N", title=None, sort=list(named.values())),
            tooltip=["step:Q", "of:N", alt.Tooltip("value:Q", format=".4f")],
        )
    )
