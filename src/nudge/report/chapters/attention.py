"""Chapter: who looks at whom, and whether the answer needs it."""

from collections.abc import Mapping
from typing import Any

import altair as alt

from nudge.data.arithmetic import OPERATIONS
from nudge.report import findings, style
from nudge.report.chapter import Chapter, Chart, Figure, Missing
from nudge.report.evidence import Evidence

HYPOTHESIS = "attention patterns"
INTRO = (
    "When the answer is due, do the heads look at the numbers? And does the answer need what they saw? Looking is "
    "measured by the attention weights, beside even attention and untrained weights. Needing is measured by taking "
    "away: what a head has gathered, or what one glance has brought, is replaced by its average, and the fall in right "
    "answers counts."
)


def chapter(evidence: Evidence) -> Chapter:
    """Show where heads look, what is lost without them, and how far the one tells the other."""
    found = evidence.finding(HYPOTHESIS)
    figures = {"looks": _looks(found), "needs": _needs(found), "edges": _edges(found)}
    return findings.chapter(
        evidence,
        HYPOTHESIS,
        "Attention: who looks at whom",
        "attention",
        INTRO,
        figures,
        ("attention", "heads", "edges"),
    )


def _head(row: Mapping[str, Any]) -> str:
    return f"layer {row['layer']}, head {row['head']}"


def _looks(found: Mapping[str, Any] | None) -> Figure | Missing:
    told = findings.rows(found, "attention", "layer", "head", "role", "attention", "uniform", "untrained")
    if not told:
        return Missing("not drawn: reports/insight.json has no table of it.")
    roles = list(dict.fromkeys(row["role"] for row in told))
    charts = []
    for head in dict.fromkeys(_head(row) for row in told):
        of_it = [row for row in told if _head(row) == head]
        bars = (
            alt.Chart(style.data([{"role": row["role"], "share": row["attention"]} for row in of_it], 3))
            .mark_bar(color=style.ACCENT, height={"band": 0.7})
            .encode(
                y=alt.Y("role:N", sort=roles, title=None),
                x=alt.X(
                    "share:Q",
                    title="share of attention",
                    scale=alt.Scale(domain=[0, 1]),
                    axis=alt.Axis(format="%", tickCount=3),
                ),
                tooltip=["role:N", alt.Tooltip("share:Q", format=".1%")],
            )
        )
        controls = [
            {"role": row["role"], "share": row[name], "beside": says}
            for row in of_it
            for name, says in (("uniform", "even attention"), ("untrained", "untrained weights"))
        ]
        ticks = (
            alt.Chart(style.data(controls, 3))
            .mark_tick(thickness=2.5, size=15)
            .encode(
                y=alt.Y("role:N", sort=roles),
                x="share:Q",
                color=alt.Color(
                    "beside:N",
                    legend=None,
                    scale=alt.Scale(
                        domain=["even attention", "untrained weights"], range=[style.INK, "var(--series-2)"]
                    ),
                ),
                tooltip=["beside:N", alt.Tooltip("share:Q", format=".1%")],
            )
        )
        most = max(of_it, key=lambda row: float(row["attention"]))
        says = f"Attention of {head} by what is looked at; most, {most['attention']:.0%}, goes to: {most['role']}."
        charts.append(Chart(f"looks-{head[6:].replace(', head ', '-')}", style.finish(bars + ticks, says, 200), head))
    return Figure(
        charts,
        "Where each head looks when a word of the answer is due.",
        "Mean attention over all answering positions of all test facts; the dark marks are even attention, the "
        "orange ones the same measured with untrained weights.",
        narrow=260,
    )


def _needs(found: Mapping[str, Any] | None) -> Figure | Missing:
    told = findings.rows(found, "heads", "layer", "head", "operation", "fall", "low", "high")
    told = [row for row in told if row["operation"] in OPERATIONS]
    if not told:
        return Missing("not drawn: reports/insight.json has no table of it.")
    base = alt.Chart(style.data([{**row, "name": _head(row)} for row in told], 3)).encode(
        x=alt.X("name:N", sort=None, title=None, axis=alt.Axis(labelAngle=0, labelExpr="split(datum.label, ', ')")),
        xOffset=alt.XOffset("operation:N", sort=list(OPERATIONS)),
    )
    bars = base.mark_bar().encode(
        y=alt.Y("fall:Q", title="fall in right answers", axis=alt.Axis(format="%")),
        color=alt.Color(
            "operation:N", title=None, legend=alt.Legend(columns=4), scale=style.operations(), sort=list(OPERATIONS)
        ),
        tooltip=["name:N", "operation:N", alt.Tooltip("fall:Q", format=".1%")],
    )
    whiskers = base.mark_rule(color=style.INK).encode(y=alt.Y("low:Q", title="fall in right answers"), y2="high:Q")
    worst = max(told, key=lambda row: float(row["fall"]))
    says = f"{_head(worst).capitalize()} is missed most: without it {worst['operation']} loses {worst['fall']:.0%}."
    return Figure(
        [
            Chart(
                "needs", style.finish(bars + whiskers, f"Fall in accuracy without each head, by operation. {says}", 260)
            )
        ],
        says,
        "Mean ablation on the test facts: in place of what the head gathered stands its average at such a word. Lines "
        "are 95 % intervals.",
    )


def _edges(found: Mapping[str, Any] | None) -> Figure | Missing:
    told = findings.rows(found, "edges", "layer", "head", "role", "attention", "fall")
    if not told:
        return Missing("not drawn: reports/insight.json has no table of it.")
    points = (
        alt.Chart(style.data([{**row, "name": _head(row)} for row in told], 3))
        .mark_point(size=70, opacity=0.85)
        .encode(
            x=alt.X("attention:Q", title="share of attention", axis=alt.Axis(format="%")),
            y=alt.Y("fall:Q", title="fall in right answers without it", axis=alt.Axis(format="%")),
            color=alt.Color("name:N", title=None, sort=None, legend=alt.Legend(columns=2)),
            shape=alt.Shape("role:N", title=None, sort=None, legend=alt.Legend(columns=3)),
            tooltip=["name:N", "role:N", alt.Tooltip("attention:Q", format=".1%"), alt.Tooltip("fall:Q", format=".1%")],
        )
    )
    return Figure(
        [Chart("edges", style.finish(points, "Attention of each glance against what is lost without it.", 300))],
        "Looking is not needing: if attention explained the answer, the points would rise from left to right.",
        "Each point is one glance (a head, and what it looks at). Mean ablation: at all answering positions the "
        "attention stays as it is, but what it brings from there is replaced by its mean over all questions; the fall "
        "in right answers over all test facts is measured.",
    )
