"""Chapter: do neighbouring numbers lie close inside the model?"""

from collections.abc import Mapping
from typing import Any

import altair as alt

from nudge.report import findings, style
from nudge.report.chapter import Chapter, Chart, Figure, Missing
from nudge.report.evidence import Evidence

HYPOTHESIS = "number representations"
INTRO = (
    "The model was never told that seven comes after six. Do the vectors that it made for numbers know? A number is "
    "one word or two, so the words are looked at by themselves, and whole numbers where the model has put their words "
    "together, inside it. What is asked is whether near numbers lie near, whether their size can be read off, and "
    "whether answers get worse without the directions that carry the order."
)
COLOURS = {"trained": style.AFTER, "untrained": style.BEFORE}
ABSENT = Missing("not drawn: reports/insight.json has no table of it.")


def chapter(evidence: Evidence) -> Chapter:
    """Show maps of numbers, what a probe can read, and which waves the words ride on."""
    found = evidence.finding(HYPOTHESIS)
    figures = {"maps": _maps(found), "probes": _probes(found), "spectrum": _spectrum(found)}
    return findings.chapter(
        evidence, HYPOTHESIS, "Numbers: a sense of size", "numbers", INTRO, figures, ("pictures", "probes", "spectrum")
    )


def _models() -> alt.Scale:
    return alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))


def _maps(found: Mapping[str, Any] | None) -> Figure | Missing:
    told = findings.rows(found, "pictures", "model", "of", "number", "word", "x", "y")
    told = [row for row in told if row["of"] == "left"]
    if not told:
        return ABSENT
    charts = []
    for model in dict.fromkeys(row["model"] for row in told):
        of_it = [row for row in told if row["model"] == model]
        base = alt.Chart(style.data([{key: row[key] for key in ("number", "x", "y")} for row in of_it], 3)).encode(
            x=alt.X("x:Q", axis=None, scale=alt.Scale(zero=False)),
            y=alt.Y("y:Q", axis=None, scale=alt.Scale(zero=False)),
        )
        points = base.mark_circle(size=60, opacity=1).encode(
            color=alt.Color(
                "number:Q", title="number", scale=alt.Scale(scheme="viridis"), legend=alt.Legend(gradientLength=120)
            ),
            tooltip=["number:Q"],
        )
        tens = base.transform_filter("datum.number % 10 === 0").mark_text(dy=-9, fontSize=11).encode(text="number:Q")
        says = f"The numbers inside the {model} model, on their two main directions, coloured by size."
        charts.append(Chart(f"map-{model}", style.finish(points + tens, says, 300), model))
    share = next((row["variance"] for row in told if "variance" in row), None)
    return Figure(
        charts,
        "The left operand as the model holds it at its last word: a number a point, colour is its size, the tens are "
        "named.",
        "The two main directions (PCA) of the residual stream, one question for each number, all of the same "
        "operation: a left operand's state depends on nothing that comes after it"
        + (f"; they hold {share:.0%} of the variance with trained weights." if share is not None else "."),
        narrow=300,
    )


def _probes(found: Mapping[str, Any] | None) -> Figure | Missing:
    told = findings.rows(found, "probes", "model", "operand", "place", "target", "score", "control")
    told = [row for row in told if row["operand"] == "left"]
    if not told:
        return ABSENT
    charts = []
    for target in dict.fromkeys(row["target"] for row in told):
        lines = [
            {"place": row["place"], "score": row["score"], "of": row["model"]}
            for row in told
            if row["target"] == target
        ] + [
            {"place": row["place"], "score": row["control"], "of": "random labels"}
            for row in told
            if row["target"] == target and row["model"] == "trained"
        ]
        chart = (
            alt.Chart(style.data(lines, 3))
            .mark_line(point=True)
            .encode(
                x=alt.X("place:O", title="place in the residual stream", axis=alt.Axis(labelAngle=0)),
                y=alt.Y("score:Q", title="R²" if target == "magnitude" else "read right"),
                color=alt.Color(
                    "of:N",
                    title=None,
                    sort=None,
                    scale=alt.Scale(domain=[*COLOURS, "random labels"], range=[*COLOURS.values(), "var(--series-2)"]),
                ),
                tooltip=["of:N", "place:O", alt.Tooltip("score:Q", format=".2f")],
            )
        )
        charts.append(
            Chart(f"probe-{target}", style.finish(chart, f"How well {target} is read, by place.", 180), target)
        )
    return Figure(
        charts,
        "How well a straight line through the vectors tells the size, the tens and the ones of numbers that it was not "
        "fitted on.",
        "Linear probes of the left operand's last word at each place of the residual stream, scored on held-out "
        "numbers; beside them untrained weights, and the same probe fitted to random labels.",
        narrow=220,
    )


def _spectrum(found: Mapping[str, Any] | None) -> Figure | Missing:
    told = findings.rows(found, "spectrum", "model", "of", "frequency", "share")
    if not told:
        return ABSENT
    charts = []
    for of in dict.fromkeys(row["of"] for row in told):
        bars = (
            alt.Chart(style.data([row for row in told if row["of"] == of], 3))
            .mark_bar()
            .encode(
                x=alt.X("frequency:O", title="waves from the first to the last word", axis=alt.Axis(labelAngle=0)),
                xOffset=alt.XOffset("model:N", sort=list(COLOURS)),
                y=alt.Y("share:Q", title="share of the power", axis=alt.Axis(format="%")),
                color=alt.Color("model:N", title=None, scale=_models()),
                tooltip=["model:N", "frequency:O", alt.Tooltip("share:Q", format=".1%")],
            )
        )
        charts.append(Chart(f"spectrum-{of}", style.finish(bars, f"Power of each wave in the {of} words.", 180), of))
    return Figure(
        charts,
        "Slow waves mean that neighbours are alike: an order of size shows as much power at the left.",
        "Fourier transform of the words' embeddings in the order of their numbers, power summed over all directions.",
        narrow=220,
    )
