"""Chapter: which part of the network is to blame for the error, step by step."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from nudge.model.decoder import PARTS
from nudge.report import style
from nudge.report.chapter import Chapter, Chart, Figure, Missing
from nudge.report.chapters.surprise import at, step_axis, thinned
from nudge.report.evidence import Evidence

NONE_KEPT = "not drawn: the run kept no snapshots; callbacks.snapshots.count=20 and `dvc repro` keep some."


def chapter(evidence: Evidence) -> Chapter:
    """Show the blame by part at every step, and by layer and head at the snapshots."""
    return Chapter(
        "Blame: which weights did it?",
        "blame",
        {"parts": _parts(evidence), "layers": _finer(evidence, "layer"), "heads": _finer(evidence, "head")},
    )


def _parts(evidence: Evidence) -> Figure | Missing:
    curve = evidence.recorded(*(f"blame/{part}" for part in PARTS))
    if curve is None:
        return Missing("not drawn: the run recorded no gradients (callbacks.gradients); `dvc repro pretrain` does.")
    # A single step's blame jumps about; a mean over a tenth of the steps so far keeps early and late changes visible.
    smooth = pd.DataFrame(
        {part: _smoothed(curve[f"blame/{part}"].tolist()) for part in PARTS} | {"step": curve["step"]}
    )
    rows = [
        {"at": at(row["step"]), "part": part, "share": row[part], "rank": rank}
        for row in thinned(smooth).to_dict("records")
        for rank, part in enumerate(PARTS)
    ]
    area = (
        alt.Chart(style.data(rows, 3))
        .mark_area()
        .encode(
            x=step_axis(),
            y=alt.Y("share:Q", stack="normalize", title="share of the blame", axis=alt.Axis(format="%")),
            color=alt.Color("part:N", scale=style.parts(), title=None, legend=alt.Legend(columns=4)),
            order="rank:Q",
        )
    )
    first, last = curve.iloc[0], smooth.iloc[-1]
    most = max(PARTS, key=lambda part: float(first[f"blame/{part}"]))
    later = max(PARTS, key=lambda part: float(last[part]))
    return Figure(
        [Chart("blame", style.finish(area, "Share of the blame of each part of the network, against steps.", 260))],
        f"At {_named(int(first['step']))} most of the blame lies on the {most} ({float(first[f'blame/{most}']):.0%}); "
        f"at the end on the {later} ({float(last[later]):.0%}).",
        "Backpropagation gives every weight its gradient; a part's blame is its share of the squared length of all "
        "gradients together. Drawn as the mean over the last tenth of the steps up to each.",
    )


def _named(step: int) -> str:
    return "the first step" if step == 1 else f"step {step}, the first at which it was recorded,"


def _smoothed(values: Sequence[float]) -> list[float]:
    means = []
    for end in range(1, len(values) + 1):
        window = values[end - max(1, end // 10) : end]
        means.append(sum(window) / len(window))
    return means


def _finer(evidence: Evidence, by: str) -> Figure | Missing:
    if evidence.blame is None or not (evidence.blame["by"] == by).any():
        return Missing(NONE_KEPT)
    told = evidence.blame[evidence.blame["by"] == by]
    names = [name for name in told["name"].unique() if name != "elsewhere"]
    rows: list[dict[str, Any]] = [
        {"at": at(row["step"]), "share": row["share"], "name": _said(str(row["name"]), by)}
        for row in told.to_dict("records")
        if row["name"] in names
    ]
    lines = (
        alt.Chart(style.data(rows, 3))
        .mark_line(point={"size": 14})
        .encode(
            x=step_axis(),
            y=alt.Y("share:Q", title="share of the blame", axis=alt.Axis(format="%")),
            color=alt.Color("name:N", title=None, sort=None, legend=alt.Legend(columns=2)),
            tooltip=["name:N", alt.Tooltip("at:Q", title="step", format=",.0f"), alt.Tooltip("share:Q", format=".1%")],
        )
    )
    last = told[told["step"] == told["step"].max()].set_index("name")["share"].loc[names]
    top = _said(str(last.idxmax()), by)
    where = "layers" if by == "layer" else "attention heads"
    return Figure(
        [Chart(f"blame-{by}", style.finish(lines, f"Share of the blame by {by}, against steps. Last highest: {top}."))],
        f"Among the {where}, {top} takes the most at the last measured step ({float(last.max()):.0%}).",
        "The same shares, from the gradients of the batches that followed each snapshot"
        + ("; a head owns its rows and columns of the attention's matrices." if by == "head" else "."),
    )


def _said(name: str, by: str) -> str:
    if by == "head":
        layer, head = name.split(".")
        return f"layer {layer}, head {head}"
    return f"layer {name.replace(' ', ', ')}" if name[0].isdigit() else name
