"""Chapter: one weight, one step, with numbers to check by hand; and how large all steps were."""

import altair as alt

from nudge.model.decoder import PARTS
from nudge.report import style
from nudge.report.chapter import Chapter, Chart, Figure, Missing
from nudge.report.chapters.surprise import at, step_axis, thinned
from nudge.report.evidence import Evidence


def chapter(evidence: Evidence) -> Chapter:
    """Show one nudge worked out, and the size of all nudges over training."""
    return Chapter("Nudge: a small step downhill", "nudge", {"ratios": _ratios(evidence)}, {})


def _ratios(evidence: Evidence) -> Figure | Missing:
    curve = evidence.training
    if curve is None or f"update_ratio/{PARTS[0]}" not in curve:
        return Missing("not drawn: the run recorded no update ratios (callbacks.gradients); `dvc repro pretrain` does.")
    rows = [
        {"at": at(row["step"]), "part": part, "ratio": row[f"update_ratio/{part}"]}
        for row in thinned(curve).to_dict("records")
        for part in PARTS
        if row[f"update_ratio/{part}"] > 0
    ]
    lines = (
        alt.Chart(style.data(rows, 3))
        .mark_line(strokeWidth=1.5)
        .encode(
            x=step_axis(),
            y=alt.Y("ratio:Q", scale=alt.Scale(type="log"), title="step ÷ weights", axis=alt.Axis(format=".2%")),
            color=alt.Color("part:N", scale=style.parts(), title=None),
        )
    )
    typical = float(curve[[f"update_ratio/{part}" for part in PARTS]].to_numpy().mean())
    return Figure(
        [Chart("ratios", style.finish(lines, "Length of each step relative to the weights, by part, against steps."))],
        f"A nudge is small: on average {typical:.2%} of the length of the weights that it changes.",
        "Length of the change that the optimiser made, over the length of the weights before it, for each step.",
    )
