"""Chapter: does learning from preferences add a capability, or only change which one is shown?"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from nudge.report import style
from nudge.report.chapter import Chapter, Chart, Figure, Table
from nudge.report.evidence import Evidence

ARMS = {  # as the study names them, and what they are
    "rlhf": "preferred",
    "random": "random reward",
    "rejection": "own best answers",
    "taught": "taught the answers",
}
COLOURS = {"rlhf": style.SERIES[0], "random": style.SERIES[6], "rejection": style.SERIES[4], "taught": style.SERIES[2]}
COMPOSED = {"finetuned": "fine-tuned", "rl": "RL, checked reward", "shown": "shown the answers"}
TRIES = "16"  # the k that the verdict looks at

Told = Mapping[str, Any]


def chapter(evidence: Evidence) -> Chapter:
    """Show the verdict with its checks, behaviour and capability of each arm, and the experiment on compositions."""
    chain = evidence.chain
    told, composed = (chain.studies.get(name) for name in ("rlhf_question", "composition"))
    return Chapter(
        "Does it add a capability?",
        "question",
        {
            "arms": chain.of_study("rlhf_question", _arms),
            "curves": chain.of_study("rlhf_question", _curves),
            "composition": chain.of_study("composition", _composition),
        },
        {
            "verdict": told and told["verdict"],
            "seeds": told and len(told["seeds"]),
            "questions": told and told["questions"],
            "composition": composed and composed["verdict"],
            "answers": {"yes": "not supported", "no": "supported", "undecided": "inconclusive"},
        },
        made_by=[name for name in ("rlhf_question", "composition") if name in evidence.made],
    )


def _present(told: Told) -> list[str]:
    return [name for name in ARMS if name in told["arms"]]


def _changes(told: Told) -> list[dict[str, Any]]:
    """Return each arm's change of pass@16, over all questions and over the hard ones."""
    rows = []
    for arm in _present(told):
        for kind, says in (("all", "all questions"), ("hard", "the hard ones")):
            at = told["arms"][arm]["capability"].get(kind, {}).get(TRIES)
            if at:
                rows.append({"arm": ARMS[arm], "of": says, **at["change"]})
    return rows


def _arms(told: Told) -> Figure:
    """Draw what each arm changed of behaviour beside what it changed of capability."""
    names = _present(told)
    wins = [{"arm": ARMS[arm], **_interval(told["arms"][arm]["behaviour"]["win_rate"])} for arm in names]
    changes = _changes(told)
    scale = alt.Scale(domain=[ARMS[arm] for arm in names], range=[COLOURS[arm] for arm in names])
    even = alt.Chart(style.data([{"even": 0.5}])).mark_rule(strokeDash=[4, 4]).encode(x="even:Q")
    none = alt.Chart(style.data([{"none": 0.0}])).mark_rule(strokeDash=[4, 4]).encode(x="none:Q")
    x_wins = alt.Scale(domain=[0, 1])
    behaviour = _spans(wins, "win rate over the fine-tuned model", scale, x_wins) + even
    capability = _spans(changes, f"change of pass@{TRIES}", scale, alt.Undefined, "of") + none
    rates = "; ".join(f"{row['arm']} {row['mean']:.0%}" for row in wins)
    moved = "; ".join(
        f"{arm} " + " and ".join(f"{_points(row['mean'])} on {row['of']}" for row in changes if row["arm"] == arm)
        for arm in scale.to_dict()["domain"]
    )
    return Figure(
        [
            Chart("arms-behaviour", style.finish(behaviour, f"Win rates: {rates}.", 230), "Behaviour"),
            Chart("arms-capability", style.finish(capability, f"Changes of capability: {moved}.", 230), "Capability"),
        ],
        f"Behaviour, how often its answer beats the fine-tuned model's by the rubric: {rates}. Capability, whether the "
        f"right number is among 16 tries in any form, changes by so many points: {moved}.",
        f"{len(told['seeds'])} seeds; the same questions of families never seen, against each seed's own start; 95 % "
        "intervals by bootstrap over seeds and families. Dashed: no change.",
        made_by="rlhf_question",
        table=Table(
            ["arm", "what", "mean", "from", "to"],
            [
                *([row["arm"], "win rate", row["mean"], row["low"], row["high"]] for row in wins),
                *([r["arm"], f"pass@{TRIES}, {r['of']}", r["mean"], r["low"], r["high"]] for r in changes),
            ],
        ),
    )


def _interval(told: Told) -> dict[str, Any]:
    return {key: told[key] for key in ("mean", "low", "high")}


def _points(change: float) -> str:
    return f"{100 * change:+.1f}".replace("-", "−")


def _spans(rows: Sequence[Told], title: str, colours: alt.Scale, scale: Any, apart: str = "") -> alt.LayerChart:
    keys = ("arm", "mean", "low", "high", *([apart] if apart else []))
    base = alt.Chart(style.data([{key: row[key] for key in keys} for row in rows])).encode(
        y=alt.Y("arm:N", sort=None, title=None, axis=alt.Axis(labelFontSize=12, labelColor=style.INK)),
        color=alt.Color("arm:N", scale=colours, legend=None),
    )
    tooltip = ["arm:N", alt.Tooltip("mean:Q", format=".2%")]
    if apart:
        base = base.encode(yOffset=alt.YOffset(f"{apart}:N", sort=None))
        tooltip.insert(1, f"{apart}:N")
    axis = alt.Axis(format="%")
    lines = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title, axis=axis, scale=scale), x2="high:Q")
    points = base.mark_point(size=70).encode(x=alt.X("mean:Q", title=title, axis=axis, scale=scale), tooltip=tooltip)
    if apart:
        legend = alt.Legend(symbolFillColor=style.MUTED, symbolStrokeColor=style.MUTED)
        points = points.encode(shape=alt.Shape(f"{apart}:N", title=None, sort=None, legend=legend))
    return lines + points


def _curves(told: Told) -> Figure:
    """Draw pass@k of each arm over the hard questions, beside guessing."""
    kind = "hard" if "hard" in told["floor"] else "all"
    curves = {"fine-tuned": told["arms"]["finetuned"]} | {ARMS[arm]: told["arms"][arm] for arm in _present(told)}
    found = {
        name: {int(k): at["pass"]["mean"] for k, at in arm["capability"][kind].items()} for name, arm in curves.items()
    } | {"guessing": {int(k): share for k, share in told["floor"][kind].items()}}
    rows = [{"k": k, "share": share, "of": name} for name, curve in found.items() for k, share in curve.items()]
    own = {"fine-tuned": "var(--stage-fine)", "guessing": style.MUTED}
    colours = own | {ARMS[arm]: COLOURS[arm] for arm in _present(told)}
    dashes = [[4, 4] if name == "guessing" else [1, 0] for name in found]
    lines = (
        alt.Chart(style.data(rows))
        .mark_line(point={"size": 40})
        .encode(
            x=alt.X(
                "k:Q",
                title="answers drawn (k)",
                scale=alt.Scale(type="log", base=2),
                axis=alt.Axis(values=sorted(found["guessing"])),
            ),
            y=alt.Y("share:Q", title="right among them", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color(
                "of:N", title=None, scale=alt.Scale(domain=list(found), range=[colours[name] for name in found])
            ),
            strokeDash=alt.StrokeDash("of:N", scale=alt.Scale(domain=list(found), range=dashes)),
            tooltip=["of:N", "k:Q", alt.Tooltip("share:Q", format=".1%")],
        )
    )
    said = "; ".join(f"{name} {max(curve.values()):.0%}" for name, curve in found.items())
    which = "times and divided by" if kind == "hard" else "all questions"
    return Figure(
        [Chart("arms-passes", style.finish(lines, f"Pass@k of each arm, {which}. At the end: {said}.", 260))],
        f"With more tries the arms come together, if what they can do is the same. In 16 tries, {which}: {said}.",
        "Exact, by scoring every right answer; where an arm only says more often what it could say before, it leads at "
        "one try and no longer at many.",
        made_by="rlhf_question",
        table=Table(["k", *found], [[k, *(curve[k] for curve in found.values())] for k in sorted(found["guessing"])]),
    )


def _composition(told: Told) -> Figure:
    """Draw what was reached of questions with two operations, which no stage had seen."""
    rows = [
        {"arm": COMPOSED.get(arm, arm), "of": says, **_interval(at[TRIES]["pass"])}
        for part, says in (("train", "asked in training"), ("held_out", "never asked"))
        for arm, at in told["parts"][part].items()
    ]
    scale = alt.Scale(domain=["asked in training", "never asked"], range=[style.BEFORE, style.AFTER])
    base = alt.Chart(style.data(rows)).encode(
        y=alt.Y("arm:N", sort=None, title=None, axis=alt.Axis(labelFontSize=12, labelColor=style.INK)),
        yOffset=alt.YOffset("of:N", sort=None),
        color=alt.Color("of:N", title=None, sort=None, scale=scale),
    )
    axis, whole, title = alt.Axis(format="%"), alt.Scale(domain=[0, 1]), "right in 16 tries"
    lines = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title, axis=axis, scale=whole), x2="high:Q")
    points = base.mark_point(size=70).encode(
        x=alt.X("mean:Q", title=title, axis=axis, scale=whole),
        tooltip=["arm:N", "of:N", alt.Tooltip("mean:Q", format=".1%")],
    )
    said = "; ".join(f"{row['arm']}, {row['of']}, {row['mean']:.0%}" for row in rows)
    return Figure(
        [Chart("composition", style.finish(lines + points, f"Compositions right in 16 tries: {said}.", 190))],
        f"“What is two plus three times four ?”, from left to right: two operations that were learned apart. In 16 "
        f"tries: {said}.",
        f"{len(told['seeds'])} seeds; single digits; intervals as above. RL with a checked reward can only strengthen "
        "what is sometimes said.",
        made_by="composition",
        table=Table(
            ["arm", "questions", "right", "from", "to"],
            [[row[key] for key in ("arm", "of", "mean", "low", "high")] for row in rows],
        ),
    )
