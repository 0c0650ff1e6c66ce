"""Chapter: from a state inside to a word, and how honest its probability is."""

from collections.abc import Mapping
from typing import Any

import altair as alt

from nudge.report import findings, style
from nudge.report.chapter import Chapter, Chart, Figure, Missing
from nudge.report.evidence import Evidence

HYPOTHESIS = "output mapping"
INTRO = (
    "At the end a state of the network is turned into a word. Reading the state through the same output at every place "
    "on the way (a “logit lens”) shows where the right word first stands first; what each component adds to it shows "
    "who writes it; and when the model says 94 %, it should be right 94 times in 100."
)
ABSENT = Missing("not drawn: reports/insight.json has no table of it.")


def chapter(evidence: Evidence) -> Chapter:
    """Show where the answer becomes readable, who writes it, and whether it is right as often as it says."""
    found = evidence.finding(HYPOTHESIS)
    figures = {"lens": _lens(found), "attribution": _attribution(found), "reliability": _reliability(found)}
    drawn = ("lens", "attribution", "reliability", "settles")
    return findings.chapter(evidence, HYPOTHESIS, "Output: from a state to a word", "output", INTRO, figures, drawn)


def _lens(found: Mapping[str, Any] | None) -> Figure | Missing:
    told = findings.rows(found, "lens", "place", "first", "untrained")
    if not told:
        return ABSENT
    places = [row["place"] for row in told]
    lines = [
        {"place": row["place"], "share": share, "of": of}
        for row in told
        for of, share in (
            ("all words of the answer", row["first"]),
            *row.get("by_token", {}).items(),
            ("all, untrained weights", row["untrained"]),
        )
    ]
    chart = (
        alt.Chart(style.data(lines, 3))
        .mark_line(point=True)
        .encode(
            x=alt.X("place:N", sort=places, title=None, axis=alt.Axis(labelAngle=-25)),
            y=alt.Y(
                "share:Q", title="right word stands first", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])
            ),
            color=alt.Color("of:N", title=None, sort=None, legend=alt.Legend(columns=2)),
            tooltip=["of:N", "place:N", alt.Tooltip("share:Q", format=".1%")],
        )
    )
    rises = max(range(1, len(told)), key=lambda n: told[n]["first"] - told[n - 1]["first"])
    says = (
        f"The right word comes to stand first mostly at “{places[rises]}”: from {told[rises - 1]['first']:.0%} before "
        f"it to {told[rises]['first']:.0%} after."
    )
    return Figure(
        [Chart("lens", style.finish(chart, f"How often the right word stands first, by place. {says}", 260))],
        says,
        "The residual stream at each place, read through the last normalisation and the output matrix (nostalgebraist "
        "2020), at every answering position of the test facts.",
    )


def _attribution(found: Mapping[str, Any] | None) -> Figure | Missing:
    told = findings.rows(found, "attribution", "component", "logit", "fall")
    if not told:
        return ABSENT
    order = [row["component"] for row in sorted(told, key=lambda row: -float(row["logit"]))]
    charts = []
    for column, title, form in (
        ("logit", "added to the right word's logit", "~g"),
        ("fall", "fall in right answers without it", "%"),
    ):
        bars = (
            alt.Chart(style.data([{"component": row["component"], column: row[column]} for row in told], 3))
            .mark_bar(height={"band": 0.7})
            .encode(
                y=alt.Y("component:N", sort=order, title=None),
                x=alt.X(f"{column}:Q", title=title, axis=alt.Axis(format=form)),
                tooltip=["component:N", alt.Tooltip(f"{column}:Q", format=".2f" if form == "~g" else ".1%")],
            )
        )
        says = f"By component: {title}. Most: {max(told, key=lambda row: float(row[column]))['component']}."
        charts.append(Chart(f"attribution-{column}", style.finish(bars, says, 30 + 26 * len(told)), title))
    return Figure(
        charts,
        f"Who writes the answer: {order[0]} adds most to the right word.",
        "Direct logit attribution: what each component adds to the right word's logit, above the mean of the number "
        "words; beside it what is lost when it is replaced by its mean in the last state.",
        narrow=280,
    )


def _reliability(found: Mapping[str, Any] | None) -> Figure | Missing:
    told = findings.rows(found, "reliability", "confidence", "right", "low", "high", "count")
    if not told:
        return ABSENT
    base = alt.Chart(style.data(told)).encode(
        x=alt.X("confidence:Q", title="how sure it is", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    )
    y = alt.Y("right:Q", title="how often it is right", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    points = base.mark_point(size=60, opacity=1).encode(
        y=y, tooltip=[alt.Tooltip("confidence:Q", format=".1%"), alt.Tooltip("right:Q", format=".1%"), "count:Q"]
    )
    bounds = base.mark_rule().encode(y=alt.Y("low:Q", title="how often it is right"), y2="high:Q")
    honest = alt.Chart(style.data([{"at": 0}, {"at": 1}])).mark_line(strokeDash=[4, 4], color=style.MUTED)
    honest = honest.encode(x="at:Q", y="at:Q")
    return Figure(
        [
            Chart(
                "reliability", style.finish(honest + bounds + points, "Share of right answers against confidence.", 300)
            )
        ],
        "On the dashed line a model is right exactly as often as it says.",
        f"The test answers in {len(told)} groups of about equal size by their probability; lines are Wilson's 95 % "
        "intervals.",
    )
