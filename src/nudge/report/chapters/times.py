"""Chapter: when each fact was learned, and which came last."""

from typing import Any

import altair as alt
import pandas as pd

from nudge.data.arithmetic import OPERATIONS
from nudge.report import style
from nudge.report.chapter import Chapter, Chart, Figure, Missing, Table
from nudge.report.chapters.surprise import at, step_axis
from nudge.report.evidence import Evidence

LISTED = 10  # of the facts that came last
BLOCK = 10  # numbers to a side of the map's blocks: single facts would be ten thousand marks
CARRIES = {"plus": ("no carry", "carry"), "minus": ("no borrow", "borrow")}


def chapter(evidence: Evidence) -> Chapter:
    """Show how right answers spread, by kind of fact and over the table of sums."""
    told = (evidence.insight or {}).get("learning")
    told_of: dict[str, Figure | Missing | None] = {
        "carrying": _carrying(told),
        "map": _map(evidence.learning),
        "rarity": _rarity(told),
        "last": _last(told),
    }
    missing = Missing(evidence.why["insight"])
    figures = {name: figure or missing for name, figure in told_of.items()}
    return Chapter("When: the order of learning", "times", figures)


def _carrying(told: dict[str, Any] | None) -> Figure | None:
    """Draw right answers over steps, sums and differences divided by whether the ones carry."""
    if not told or not told.get("exact_match"):
        return None
    charts = []
    for operation, names in CARRIES.items():
        rows = [
            {
                "at": at(row["step"]),
                "share": row["exact_match"],
                "kind": names[bool(row["carries"])],
                "split": "shown in training" if row["split"] == "train" else "never shown",
            }
            for row in told["exact_match"]
            if row["operation"] == operation and row["carries"] is not None and row["split"] in ("train", "test")
        ]
        if not rows:
            continue
        lines = (
            alt.Chart(style.data(rows, 3))
            .mark_line(point={"size": 12})
            .encode(
                x=step_axis(),
                y=alt.Y("share:Q", title="right", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
                color=alt.Color("kind:N", title=None, sort=list(names), scale=alt.Scale(domain=list(names))),
                strokeDash=alt.StrokeDash("split:N", title=None, sort=["shown in training", "never shown"]),
            )
        )
        says = f"Share of {operation} facts answered exactly, with and without carrying, against steps."
        charts.append(Chart(f"carrying-{operation}", style.finish(lines, says, 230), operation))
    medians = {
        (row["operation"], row["carries"]): row["median"]
        for row in told.get("learning_time", [])
        if row["split"] == "test" and row["operation"] in CARRIES and row["carries"] is not None
    }
    said = "; ".join(
        f"{operation}, {CARRIES[operation][bool(carry)]}: {'never' if step is None else f'step {step:,}'}"
        for (operation, carry), step in medians.items()
    )
    return Figure(
        charts,
        f"When half of the unseen facts of a kind are right and stay so: {said}.",
        "Every fact asked at every snapshot; its ones carry if they sum to ten or more, or borrow if the upper one is "
        "smaller.",
        narrow=300,
    )


def _map(learning: pd.DataFrame | None) -> Figure | Missing | None:
    if learning is None or not len(learning):
        return None
    never = learning["learned_at"].max() * 2 + 1  # later than any step; only ranks matter to a median
    told = learning.assign(
        at=learning["learned_at"].fillna(never).clip(lower=0.5),
        x=learning["left"] // BLOCK * BLOCK,
        y=learning["right"] // BLOCK * BLOCK,
    )
    charts = []
    for operation in OPERATIONS:
        of_it = told[told["operation"] == operation]
        if not len(of_it):
            continue
        blocks = of_it.groupby(["x", "y"])["at"].agg(["median", "size"]).reset_index()
        blocks = blocks[blocks["median"] < never].rename(columns={"median": "step"})
        if not len(blocks):
            continue
        cells = (
            alt.Chart(style.data(blocks.to_dict("records"), 4))
            .mark_rect(cornerRadius=2)
            .encode(
                x=alt.X("x:O", title="first number", axis=alt.Axis(labelAngle=0, domain=False, ticks=False)),
                y=alt.Y("y:O", title="second number", sort="descending", axis=alt.Axis(domain=False, ticks=False)),
                color=alt.Color(
                    "step:Q",
                    title="step",
                    legend=alt.Legend(gradientLength=120, format="~s"),
                    scale=alt.Scale(type="log", scheme="viridis", reverse=False),
                ),
                tooltip=["x:O", "y:O", alt.Tooltip("step:Q", format=",.0f"), alt.Tooltip("size:Q", title="facts")],
            )
        )
        says = f"Median step from which facts of {operation} stay right, in blocks of {BLOCK} by {BLOCK} numbers."
        charts.append(Chart(f"times-{operation.split()[0]}", style.finish(cells, says, 250), operation))
    if not charts:
        return Missing("not drawn: no fact stays right to the end.")
    return Figure(
        charts,
        "From which step on facts are right for good: dark is early, yellow is late, empty is never.",
        f"Median over the facts of each block of {BLOCK} by {BLOCK} numbers, all splits together; facts that are wrong "
        "at the end count as later than all others. A time is known to the distance of two snapshots.",
        narrow=270,
    )


def _rarity(told: dict[str, Any] | None) -> Figure | None:
    rows = [row for row in (told or {}).get("rarity", []) if row["split"] == "test"]
    if not rows:
        return None
    overall = next((row for row in rows if row["operation"] == "all" and row["counted"] == "answer"), rows[0])
    value = overall["rank_correlation"]
    verdict = (
        "rarer ones come later"
        if overall["high"] < 0
        else "rarer ones come earlier"
        if overall["low"] > 0
        else "no clear order"
    )
    return Figure(
        [],
        f"Are the last ones the rare ones? Rank correlation of a fact's learning time with how often its "
        f"{overall['counted']} occurs in training: {value:.2f} ({overall['low']:.2f} to {overall['high']:.2f}), "
        f"{verdict}.",
        "Over test facts; below 0 means that rare comes late. Intervals are of bootstrap samples of whole families.",
        table=Table(
            ["facts", "counted", "rank correlation", "from", "to", "number"],
            [
                [row["operation"], row["counted"], row["rank_correlation"], row["low"], row["high"], row["count"]]
                for row in rows
            ],
        ),
    )


def _last(told: dict[str, Any] | None) -> Figure | None:
    rows = (told or {}).get("last", [])[:LISTED]
    if not rows:
        return None
    return Figure(
        [],
        "The facts that came last, or are wrong at the end.",
        "Of those learned at the same snapshot the more surprising ones; all splits together.",
        table=Table(
            ["fact", "split", "right from step", "surprise at the end, nats", "its answer in training"],
            [
                [
                    row["text"],
                    row["split"],
                    "never" if row["learned_at"] is None else row["learned_at"],
                    row["surprisal"],
                    row["answer_in_training"],
                ]
                for row in rows
            ],
        ),
    )
