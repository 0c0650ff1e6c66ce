"""Chapter: what worked steps buy, whether answers come from them, and how far beyond training they carry."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from nudge.data.arithmetic import OPERATIONS
from nudge.report import style
from nudge.report.chapter import Chapter, Chart, Figure, Missing, Table
from nudge.report.evidence import Evidence

NAME, REWARDED = "worked_steps", "worked_rl"
WITH, AT_ONCE = "with steps", "at once"
BEYOND = "beyond/"
UNSEEN = {
    "unseen/worked": "products and quotients",
    "unseen/adding": "practice in adding up",
    "unseen/sharing": "practice in taking away",
}
TAMPERED = {
    "changed_follows": "a result changed: goes on from it",
    "changed_returns": "a result changed: right all the same",
    "cut_follows": "steps left out: goes on from what is there",
    "cut_returns": "steps left out: right all the same",
    "noise_returns": "noise: right all the same",
}

REWARD_MEASURES = {
    "greedy": "answered",
    "pass_at_64": "answered by one of 64 tries",
    "as_taught": "with every step as taught",
}

Told = Mapping[str, Any]


def chapter(evidence: Evidence) -> Chapter:
    """Show each way of working by operation, steps that were tampered with, and questions beyond the range."""
    told = evidence.chain.studies.get(NAME)
    drawn = {"ways": _ways, "unseen": _unseen, "tampered": _tampered, "beyond": _beyond}
    return Chapter(
        "May it write its steps?",
        "steps",
        {
            **{name: evidence.chain.of_study(NAME, draw) for name, draw in drawn.items()},
            "rewarded": evidence.chain.of_study(REWARDED, _rewarded),
        },
        {"aim": told and told["aim"], "seeds": told and len(told["seeds"])},
        made_by=[name for name in (NAME, REWARDED) if name in evidence.made],
    )


def _ways(told: Told) -> Figure:
    """Draw how many unseen questions each arm answers, by operation."""
    arms = told["arms"]
    rows = [[arm["what"], *(_cell(_answered(arm, operation)[1]) for operation in OPERATIONS)] for arm in arms]
    main = arms[0]
    with_steps, at_once = (
        [_share(main["measures"][f"{key}/{operation}"]) for operation in OPERATIONS] for key in ("right", "at_once")
    )
    said = ", ".join(
        f"{operation} {one} against {other}"
        for operation, one, other in zip(OPERATIONS, with_steps, at_once, strict=True)
    )
    return Figure(
        [_panel(arms, operation) for operation in OPERATIONS],
        f"With steps and at once, by the same network: {said}.",
        "Held-out questions of the test split, answered greedily; with steps the last number counts. 95 % intervals "
        "over families of facts and over runs.",
        made_by=NAME,
        narrow=290,
        table=Table(["way", *OPERATIONS], rows),
    )


def _answered(arm: Told, operation: str) -> tuple[str, Told]:
    """Return how an arm answers, and the figure: with steps if it was taught some."""
    with_steps = arm["measures"].get(f"right/{operation}")
    return (AT_ONCE, arm["measures"][f"at_once/{operation}"]) if with_steps is None else (WITH, with_steps)


def _panel(arms: Sequence[Told], operation: str) -> Chart:
    rows = [{"how": how} | _row(arm["what"], figure) for arm in arms for how, figure in [_answered(arm, operation)]]
    scale = alt.Scale(domain=[WITH, AT_ONCE], range=[style.SERIES[0], style.SERIES[1]])
    colour = alt.Color("how:N", scale=scale, title=None, legend=alt.Legend(orient="top"))
    return _drawn(operation, rows, operation, colour)


def _unseen(told: Told) -> Figure | Missing:
    """Draw how many chains with a held-out sum or difference the main arm works out without a false step."""
    return _of_main(
        told,
        "unseen",
        UNSEEN,
        "no document was cut or dropped.",
        "Documents that training has only up to a step with a sum or difference of the test, or not at all; counted "
        "is each of which every step is true. 95 % intervals over families and runs.",
    )


def _tampered(told: Told) -> Figure | Missing:
    """Draw what becomes of the main arm's answers when its steps are tampered with."""
    return _of_main(
        told,
        "tampered",
        TAMPERED,
        "nothing was worked out as it was taught, so there were no steps to tamper with.",
        "Products and quotients of three steps and more that were worked out as taught, with a part of the steps "
        "written by somebody else; 95 % intervals over families and runs.",
    )


def _beyond(told: Told) -> Figure | Missing:
    """Draw how many questions beyond the range are answered, by the way in which they are beyond."""
    measures = told["arms"][0]["measures"]
    return _of_main(
        told,
        "beyond",
        {key: key.removeprefix(BEYOND) for key in measures if key.startswith(BEYOND)},
        "no question beyond the range was asked.",
        "Questions that lie beyond training in one way each: factors never seen together, sums of numbers above 99, "
        "counts from ten on, dividends above 99, and chains of as many sums as training has, or more.",
    )


def _of_main(told: Told, name: str, named: Mapping[str, str], lacking: str, how: str) -> Figure | Missing:
    """Draw measures of the main arm, those that are known, under the words that name them."""
    measures = told["arms"][0]["measures"]
    rows = [_row(words, measures[key]) for key, words in named.items() if _known(measures, key)]
    if not rows:
        return Missing(lacking)
    said = _in_words(rows)
    return Figure([_drawn(name, rows)], f"{said[:1].upper()}{said[1:]}.", how, made_by=NAME)


def _rewarded(told: Told) -> Figure:
    """Draw what a network that saw few worked examples makes of rewards, and of lessons."""
    charts = [
        _drawn(f"rewarded {key}", [_row(arm["what"], arm["measures"][key]) for arm in told["arms"]], words)
        for key, words in REWARD_MEASURES.items()
    ]
    said = ", ".join(f"{arm['what']} {_share(arm['measures']['greedy'])}" for arm in told["arms"])
    cells = [[arm["what"], *(_cell(arm["measures"][key]) for key in REWARD_MEASURES)] for arm in told["arms"]]
    return Figure(
        charts,
        f"Held-out products and quotients that are worked out to the right answer: {said}.",
        "Held-out questions of the test split; the last number counts. Tries are drawn at temperature 1. "
        "95 % intervals over families of facts and over runs.",
        made_by=REWARDED,
        narrow=290,
        table=Table(["network", *REWARD_MEASURES.values()], cells),
    )


def _known(measures: Told, key: str) -> bool:
    return measures.get(key, {}).get("mean") is not None


def _row(name: str, figure: Told) -> dict[str, Any]:
    return {"arm": name} | {key: figure[key] for key in ("mean", "low", "high")}


def _in_words(rows: Sequence[Told]) -> str:
    return "; ".join(f"{row['arm']} {row['mean']:.1%}" for row in rows)


def _drawn(name: str, rows: Sequence[Told], title: str = "", colour: Any = alt.Undefined) -> Chart:
    """Draw a mean with its interval in each row; a legend, where there are colours, takes room above."""
    height = (40 if colour is alt.Undefined else 60) + 24 * len(rows)
    words = f"{title}: {_in_words(rows)}." if title else f"{_in_words(rows)}."
    anchor = f"steps-{name}".replace(" ", "-").replace("_", "-")
    return Chart(anchor, style.finish(_intervals(rows, colour), words, height), title)


def _intervals(rows: Sequence[Told], colour: Any) -> alt.LayerChart:
    base = alt.Chart(style.data(list(rows))).encode(
        y=alt.Y("arm:N", sort=None, title=None, axis=alt.Axis(labelFontSize=11, labelColor=style.INK, labelLimit=250)),
        color=colour,
    )

    def x(field: str) -> alt.X:
        axis, scale = alt.Axis(format="%", tickCount=4), alt.Scale(domain=[0, 1])
        return alt.X(field, axis=axis, scale=scale, title=None)

    lines = base.mark_rule(strokeWidth=2).encode(x=x("low:Q"), x2="high:Q")
    points = base.mark_point(size=50).encode(x=x("mean:Q"), tooltip=["arm:N", alt.Tooltip("mean:Q", format=".1%")])
    return lines + points


def _share(figure: Told) -> str:
    return "–" if figure["mean"] is None else f"{figure['mean']:.1%}"


def _cell(figure: Told) -> str:
    between = "" if figure["low"] is None else f" ({figure['low']:.1%} to {figure['high']:.1%})"
    return f"{_share(figure)}{between}"
