"""Chapter: one weight, one step, with numbers to check by hand; and how large all steps were."""

from typing import Any

import altair as alt

from nudge.data.tokenizer import prompt_ids
from nudge.insight.explanation import nudging
from nudge.model.decoder import PARTS, part_of
from nudge.report import style
from nudge.report.chapter import Chapter, Chart, Figure, Missing
from nudge.report.chapters.surprise import at, step_axis, thinned
from nudge.report.evidence import Evidence


def chapter(evidence: Evidence) -> Chapter:
    """Show one nudge worked out, and the size of all nudges over training."""
    figures = {"ratios": _ratios(evidence)}
    if evidence.story is None:
        return Chapter("Nudge: a small step downhill", "nudge", figures, {"nudge": None})
    text, prompt, _ = evidence.story
    # The answer's surprise at the random weights that the run began with: there a step shows most.
    begun, ids = evidence.untrained, evidence.saved.tokenizer.encode(text).ids
    first = len(prompt_ids(begun.tokenizer, prompt))
    gradients, _ = nudging.gradients_of(begun.model, ids, first)
    step = nudging.nudge(begun, ids, gradients, first)
    return Chapter(
        "Nudge: a small step downhill",
        "nudge",
        figures,
        {"nudge": step, "part": part_of(step.weight), "text": text, **_signs(step)},
    )


def _signs(step: nudging.Nudge) -> dict[str, Any]:
    """Say which way the weight goes, and how the printed sum is to be read."""
    return {
        "direction": "too high" if step.gradient > 0 else "too low",
        "moves": "down" if step.new < step.old else "up",
    }


def _ratios(evidence: Evidence) -> Figure | Missing:
    curve = evidence.recorded(*(f"update_ratio/{part}" for part in PARTS))
    if curve is None:
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
            color=alt.Color("part:N", scale=style.parts(), title=None, legend=alt.Legend(columns=4)),
        )
    )
    typical = float(curve[[f"update_ratio/{part}" for part in PARTS]].to_numpy().mean())
    return Figure(
        [Chart("ratios", style.finish(lines, "Length of each step relative to the weights, by part, against steps."))],
        f"A nudge is small: on average {typical:.2%} of the length of the weights that it changes.",
        "Length of the change that the optimiser made, over the length of the weights before it, for each step.",
    )
