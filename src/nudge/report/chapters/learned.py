"""Chapter: the four claims about what a model learns, with their verdicts, and when each comes true."""

from typing import Any

import altair as alt

from nudge.report import style
from nudge.report.chapter import Chapter, Chart, Figure, Missing, Table
from nudge.report.chapters.surprise import at, step_axis, thinned
from nudge.report.evidence import Evidence

# Where each is told of.
CHAPTERS = {
    "attention patterns": "attention",
    "number representations": "numbers",
    "operation semantics": "operations",
    "output mapping": "output",
}
ACCURACY = "exact_match"


def chapter(evidence: Evidence) -> Chapter:
    """Give the verdicts at a glance, and each claim's measure over the snapshots."""
    found = (evidence.insight or {}).get("findings", [])
    return Chapter(
        "What it learned: four claims, tested",
        "learned",
        {"timeline": _timeline(evidence)} if found else {},
        {
            "missing": None if found else evidence.why["insight"],
            "findings": [{**one, "anchor": CHAPTERS.get(one["hypothesis"])} for one in found],
        },
    )


def _timeline(evidence: Evidence) -> Figure | Missing:
    told = (evidence.insight or {}).get("timeline")
    if not told or not told.get("points"):
        return Missing("not drawn: the run kept no snapshots, or insight was not run with them.")
    points, appears, measures = told["points"], told["appears"], told["measures"]
    names = [name for name in (ACCURACY, *CHAPTERS) if name in points[-1]]
    said = {ACCURACY: "right answers"}
    shown = [name for name in names if (points[-1][name] or 0) > 0]
    rows: list[dict[str, Any]] = [
        {"at": at(point["step"]), "share": point[name] / points[-1][name], "of": said.get(name, name)}
        for name in shown
        for point in points
        if point[name] is not None
    ]
    order = [said.get(name, name) for name in shown]
    y = alt.Y(
        "share:Q",
        title="share of what it is at the end",
        axis=alt.Axis(format="%"),
        scale=alt.Scale(clamp=True, domain=[-0.25, 1.5]),
    )
    lines = (
        alt.Chart(style.data(rows, 3))
        .mark_line(point={"size": 16})
        .encode(
            x=step_axis(),
            y=y,
            color=alt.Color(
                "of:N",
                title=None,
                sort=order,
                legend=alt.Legend(columns=1),
                scale=alt.Scale(
                    domain=order, range=[style.INK, *style.SERIES][: len(order)] if ACCURACY in shown else style.SERIES
                ),
            ),
            tooltip=["of:N", alt.Tooltip("at:Q", title="step", format=",.0f"), alt.Tooltip("share:Q", format=".0%")],
        )
    )
    half = alt.Chart(style.data([{"half": 0.5}])).mark_rule(strokeDash=[4, 4]).encode(y="half:Q")
    words = "; ".join(f"{said.get(name, name)}: {_when(points, name, appears.get(name))}" for name in names)
    charts = [
        Chart("timeline", style.finish(half + lines, f"Each claim's measure over training. Appears: {words}.", 280))
    ]
    training = evidence.recorded("train/loss")
    if training is not None:
        loss = [{"at": at(row["step"]), "loss": row["train/loss"]} for row in thinned(training).to_dict("records")]
        below = (
            alt.Chart(style.data(loss))
            .mark_line(color=style.BEFORE)
            .encode(x=step_axis(), y=alt.Y("loss:Q", title="surprise, nats per word"))
        )
        charts.append(
            Chart("timeline-loss", style.finish(below, "Training loss over the same steps.", 120), "surprise")
        )
    table = [
        [
            said.get(name, name),
            measures.get(name, "share of questions answered exactly"),
            points[0][name],
            points[-1][name],
            appears.get(name),
        ]
        for name in names
    ]
    return Figure(
        charts,
        f"When each is there, that is, stays above half of what it is at the end (dashed): {words}.",
        "One measure of each claim at every snapshot, on the same sample of test facts, each divided by its last "
        "value; the table says which. This is a summary without intervals; a measure that begins above half of its "
        "last value, with random weights, is there from the start: that it is there at the end is no sign of learning.",
        table=Table(["claim", "measure", "at the first snapshot", "at the last", "above half from step"], table),
        narrow=600,
    )


def _when(points: list[dict[str, Any]], name: str, step: int | None) -> str:
    """Say from when on a measure is there; of one that random weights have more than half of, how much they have."""
    if step is None:
        return "not at all"
    first, last = points[0], points[-1][name]
    if first["step"] == 0 and first[name] is not None and first[name] > last / 2:
        return f"begins at {first[name] / last:.0%} of it".replace("%", " %")
    return f"step {step:,}"
