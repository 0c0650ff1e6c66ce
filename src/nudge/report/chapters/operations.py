"""Chapter: does “minus” do something else than “plus”, and where?"""

from collections.abc import Mapping
from typing import Any

import altair as alt

from nudge.report import findings, style
from nudge.report.chapter import Chapter, Chart, Figure, Missing, Table
from nudge.report.evidence import Evidence

HYPOTHESIS = "operation semantics"
INTRO = (
    "If the model knows what an operation is, then exchanging only the operation inside it must change the answer as "
    "arithmetic says. So while it reads “a plus b”, what it had computed at some places of “a minus b” is put in, and "
    "one looks whether it answers a − b. As that may just be the finished answer, it is also taken from “c minus d”, "
    "with other numbers; and as a control from “c plus d”, which must not do it."
)
ABSENT = Missing("not drawn: reports/insight.json has no table of it.")


def chapter(evidence: Evidence) -> Chapter:
    """Show which places carry the operation and the numbers."""
    found = evidence.finding(HYPOTHESIS)
    figures = {"map": _map(found), "places": _places(found)}
    return findings.chapter(
        evidence, HYPOTHESIS, "Operations: what the words do", "operations", INTRO, figures, ("map", "sets")
    )


def _map(found: Mapping[str, Any] | None) -> Figure | Missing:
    told = findings.rows(found, "map", "swap", "site", "position", "share")
    if not told:
        return ABSENT
    charts = []
    for number, swap in enumerate(dict.fromkeys(row["swap"] for row in told)):
        of_it = [row for row in told if row["swap"] == swap]
        sites, positions = (list(dict.fromkeys(row[key] for row in of_it)) for key in ("site", "position"))
        base = alt.Chart(
            style.data([{key: row[key] for key in ("site", "position", "share")} for row in of_it], 2)
        ).encode(
            x=alt.X("position:N", sort=positions, title=None, axis=alt.Axis(labelAngle=-40, domain=False, ticks=False)),
            y=alt.Y("site:N", sort=list(reversed(sites)), title=None, axis=alt.Axis(domain=False, ticks=False)),
            tooltip=["site:N", "position:N", alt.Tooltip("share:Q", format=".0%")],
        )
        cells = base.mark_rect(color=style.ACCENT, cornerRadius=2).encode(
            opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 1], clamp=True), legend=None)
        )
        most = max(of_it, key=lambda row: float(row["share"]))
        says = (
            f"Share carried by each place, {swap}: most, {most['share']:.0%}, by {most['site']} at {most['position']}."
        )
        charts.append(Chart(f"patching-{number}", style.finish(cells, says, 70 + 19 * len(sites)), swap))
    return Figure(
        charts,
        "Where the difference between two questions is carried: each row is a place inside, the first at the bottom, "
        "each column a position in the sentence; the stronger the colour, the more.",
        "Activation patching: the state of the other question is put in at this place alone; the share of the "
        "difference between the two answers' logits that goes over, over pairs of questions: the first of a pair is a "
        "test fact, the other may be any fact.",
        narrow=290,
    )


def _places(found: Mapping[str, Any] | None) -> Figure | Missing:
    told = findings.rows(found, "sets", "carries", "place", "share")
    if not told:
        return ABSENT
    counts = {
        name: sum(row["carries"] == name for row in told) for name in dict.fromkeys(row["carries"] for row in told)
    }
    said = "; ".join(f"the {name}: {count}" for name, count in counts.items())
    return Figure(
        [],
        f"The fewest heads and MLPs, at positions, that together carry what differs ({said}).",
        "Searched one by one, each time the place that adds most; the share is that of all places up to this one.",
        table=Table(
            ["carries", "place", "share so far"], [[row["carries"], row["place"], row["share"]] for row in told]
        ),
    )
