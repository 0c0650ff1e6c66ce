"""Figures of what a base model makes of questions: it goes on with text, and answers when that is how text goes on."""

import altair as alt

from nudge.report import style
from nudge.report.chain import Chain
from nudge.report.chapter import Chart, Figure, Missing, Table


def asked(chain: Chain) -> Figure | Missing:
    """Draw the share of right answers by the count of worked examples before the question."""
    told = chain.metrics.get("base", {}).get("asked")
    if not told:
        return Missing(chain.lacks("base"))
    rows = [
        {"question": _spoken(row["question"])} | {key: row[key] for key in ("shots", "share", "low", "high", "count")}
        for row in told
    ]
    colour = alt.Color("question:N", title="asked as", sort=None, legend=alt.Legend(columns=1))
    base = alt.Chart(style.data(rows)).encode(
        x=alt.X("shots:O", title="worked examples before the question", axis=alt.Axis(labelAngle=0)), color=colour
    )
    y = alt.Y("share:Q", title="right", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    offset = alt.XOffset("question:N", sort=None)
    points = base.mark_point(size=60).encode(
        y=y,
        xOffset=offset,
        tooltip=["question:N", "shots:O", alt.Tooltip("share:Q", format=".1%"), alt.Tooltip("count:Q", format=",")],
    )
    bars = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title="right"), y2="high:Q", xOffset=offset)
    zero = [row["share"] for row in rows if row["shots"] == 0]
    most = max(row["shots"] for row in rows)
    few = [row["share"] for row in rows if row["shots"] == most]
    return Figure(
        [Chart("few-shot", style.finish(bars + points, "Right answers of the base model by worked examples.", 240))],
        f"Asked plainly the base model has {_range(zero)} right; after {most} worked examples {_range(few)}.",
        "Greedy decoding; right is who first says the right number. Questions and examples as text, without the marks "
        "of the chat; facts of test families. Lines are Wilson's 95 % intervals.",
        made_by="base",
        table=Table(
            ["question", "examples", "right", "from", "to", "questions"],
            [[row[key] for key in ("question", "shots", "share", "low", "high", "count")] for row in rows],
        ),
    )


def _spoken(template: str) -> str:
    return template.replace("{left}", "a").replace("{operation}", "plus").replace("{right}", "b")


def _range(shares: list[float]) -> str:
    low, high = min(shares), max(shares)
    return f"{low:.0%}" if round(low, 2) == round(high, 2) else f"{low:.0%} to {high:.0%}"


def styles(chain: Chain) -> Figure | Missing:
    """Draw which kinds of text the base model goes on with."""
    told = chain.metrics.get("base", {}).get("styles")
    if not told:
        return Missing(chain.lacks("base"))
    rows = [{"source": name, "share": share} for name, share in sorted(told["share"].items(), key=lambda one: -one[1])]
    names = sorted(told["share"])
    bars = (
        alt.Chart(style.data(rows))
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y("source:N", sort=None, title=None, axis=alt.Axis(labelFontSize=13, labelColor=style.INK)),
            x=alt.X("share:Q", title="of what it says", axis=alt.Axis(format="%")),
            color=alt.Color("source:N", scale=style.sources(names), legend=None),
            tooltip=["source:N", alt.Tooltip("share:Q", format=".1%")],
        )
    )
    said = ", ".join(f"{row['source']} {row['share']:.0%}" for row in rows)
    return Figure(
        [
            Chart(
                "styles",
                style.finish(bars, f"Kinds of text that the base model goes on with: {said}.", 40 + 28 * len(rows)),
            )
        ],
        f"Given only “two plus three” it goes on as some kind of text or other: {said}.",
        f"Drawn at temperature 1; the kind is told by a naive Bayes classifier of words, which tells "
        f"{told['classifier']['share']:.0%} of real documents right.",
        made_by="base",
        table=Table(["source", "share"], [[row["source"], row["share"]] for row in rows]),
    )
