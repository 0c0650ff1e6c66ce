"""Figures of what each stage changed: behaviour, forms, capability, and what was forgotten."""

from collections.abc import Mapping
from typing import Any

import altair as alt

from nudge.report import style
from nudge.report.chain import CALLED, NOT_SCORED, Chain
from nudge.report.chapter import Chart, Figure, Missing, Table
from nudge.report.spans import spans

ASSISTANTS = ("finetune", "rlhf")
SHARES = {
    "accuracy": "right answers",
    "refusal_recall": "refuses what it should",
    "refusal_precision": "refuses rightly",
    "form": "has one of the forms",
    "ended": "stops by itself",
}


def _measured(chain: Chain) -> dict[str, dict[str, Any]]:
    return {stage: test for stage in ASSISTANTS if (test := chain.test(stage)) is not None}


def _lacking(chain: Chain) -> Missing:
    return Missing(chain.lacks(ASSISTANTS[0]))


def _made_by(measured: Mapping[str, Any]) -> str:
    return list(measured)[-1]


def shares(chain: Chain) -> Figure | Missing:
    """Draw shares of good behaviour with their intervals, before and after preferences."""
    measured = _measured(chain)
    if not measured:
        return _lacking(chain)
    rows = [
        {"what": says, "stage": CALLED[stage], **{key: told[key] for key in ("share", "low", "high", "count")}}
        for stage, test in measured.items()
        for name, says in SHARES.items()
        if (told := test["behaviour"][name])["share"] is not None
    ]
    chart = spans(rows, "what", "share of answers", apart="stage", scale=_scale(measured))
    golds = {CALLED[stage]: test["behaviour"]["gold"]["mean"] for stage, test in measured.items()}
    said = ", ".join(f"{name} {gold:.2f}" for name, gold in golds.items())
    return Figure(
        [Chart("behaviour", style.finish(chart, f"Behaviour by stage; mean gold reward {said}.", 280))],
        f"What the assistant does when asked. By the written rubric (right 1.5, form 0.3, short 0.2, polite ±0.4) an "
        f"answer earns on average: {said}.",
        "The most probable answer to each test question, of fact families that no training at any stage showed; "
        "Wilson's 95 % intervals. The rubric itself, without noise, trains no model here.",
        made_by=_made_by(measured),
        table=Table(
            ["what", "stage", "share", "from", "to", "answers"],
            [[row[key] for key in ("what", "stage", "share", "low", "high", "count")] for row in rows],
        ),
    )


def _scale(measured: Mapping[str, Any]) -> alt.Scale:
    whole = style.stages().to_dict()
    names = [CALLED[stage] for stage in measured]
    colours = dict(zip(whole["domain"], whole["range"], strict=True))
    return alt.Scale(domain=names, range=[colours[name] for name in names])


def forms(chain: Chain) -> Figure | Missing:
    """Draw how often each form is drawn at temperature 1."""
    measured = _measured(chain)
    if not measured:
        return _lacking(chain)
    counts = {stage: test["behaviour_drawn"]["forms"] for stage, test in measured.items()}
    names = [name for name in style.FORMS if any(name in told for told in counts.values())]
    names += sorted({name for told in counts.values() for name in told} - set(names))
    rows = [
        {"stage": CALLED[stage], "form": name, "share": told.get(name, 0) / sum(told.values()), "rank": rank}
        for stage, told in counts.items()
        for rank, name in enumerate(names)
    ]
    bars = (
        alt.Chart(style.data(rows))
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y("stage:N", sort=None, title=None, axis=alt.Axis(labelFontSize=13, labelColor=style.INK)),
            x=alt.X("share:Q", title="of the answers", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("form:N", title=None, scale=style.forms(names), legend=alt.Legend(columns=3)),
            order="rank:Q",
            tooltip=["stage:N", "form:N", alt.Tooltip("share:Q", format=".1%")],
        )
    )
    leads = {stage: max(told, key=lambda name: told[name]) for stage, told in counts.items()}
    said = "; ".join(
        f"{CALLED[stage]}: most often {name}, {counts[stage][name] / sum(counts[stage].values()):.0%}"
        for stage, name in leads.items()
    )
    distinct = [name for name in names if name not in ("refusal", "none")]
    phrases = chain.phrases
    table = [
        [
            name,
            phrases.answers[name].text if phrases and name in phrases.answers else "",
            *(told.get(name, 0) / sum(told.values()) for told in counts.values()),
        ]
        for name in names
    ]
    return Figure(
        [Chart("forms", style.finish(bars, f"Forms of answers by stage. {said}.", 120 + 30 * (len(names) > 6)))],
        f"Answers come in {len(distinct)} forms. {said[0].upper()}{said[1:]}.",
        "One answer to each test question, drawn at temperature 1 with the same random numbers for each stage.",
        made_by=_made_by(measured),
        table=Table(["form", "as in", *(CALLED[stage] for stage in counts)], table),
    )


def passes(chain: Chain) -> Figure | Missing:
    """Draw pass@k beside the floor of guessing."""
    measured = _measured(chain)
    if not measured:
        return _lacking(chain)
    curves = {CALLED[stage]: test["pass_at_k"] for stage, test in measured.items()}
    curves["guessing"] = next(iter(measured.values()))["guessing_at_k"]
    rows = [{"k": int(k), "share": share, "of": of} for of, told in curves.items() for k, share in told.items()]
    scale = _scale(measured).to_dict()
    lines = (
        alt.Chart(style.data(rows))
        .mark_line(point={"size": 40})
        .encode(
            x=alt.X(
                "k:Q",
                title="answers drawn (k)",
                scale=alt.Scale(type="log", base=2),
                axis=alt.Axis(values=[1, 2, 4, 8, 16]),
            ),
            y=alt.Y(
                "share:Q",
                title="the right number is among them",
                axis=alt.Axis(format="%"),
                scale=alt.Scale(domain=[0, 1]),
            ),
            color=alt.Color(
                "of:N",
                title=None,
                scale=alt.Scale(domain=list(curves), range=[*scale["range"], style.MUTED]),
                legend=alt.Legend(columns=3),
            ),
            strokeDash=alt.StrokeDash(
                "of:N", scale=alt.Scale(domain=list(curves), range=[*([[1, 0]] * len(measured)), [4, 4]])
            ),
            tooltip=["of:N", "k:Q", alt.Tooltip("share:Q", format=".1%")],
        )
    )
    first = {of: told["1"] for of, told in curves.items()}
    last = {of: told[max(told, key=int)] for of, told in curves.items()}
    said = "; ".join(f"{of} {first[of]:.1%} in one try, {last[of]:.1%} in 16" for of in curves)
    return Figure(
        [Chart("passes", style.finish(lines, f"Pass@k by stage: {said}.", 240))],
        f"What it can do, however it is said: {said}.",
        "Exact: 1 − (1 − p)^k, with p the probability of the right number in any form, by scoring every right answer "
        "to each test question. Guessing knows an operation's usual answers and no arithmetic.",
        made_by=_made_by(measured),
        table=Table(["k", *curves], [[int(k), *(told[k] for told in curves.values())] for k in curves["guessing"]]),
    )


def forgotten(chain: Chain) -> Figure | Missing:
    """Tell how the surprise at the text of pretraining has changed."""
    after = {stage: chain.metrics[stage].get("mixture_loss") for stage in ASSISTANTS if stage in chain.metrics}
    losses = {stage: loss for stage, loss in after.items() if loss is not None}
    if not losses:
        return Missing(NOT_SCORED if after else chain.lacks(ASSISTANTS[0]))
    base = chain.validation.get("base")
    own = None if base is None or "val/loss" not in base else float(base["val/loss"].min())
    known = ({"base": own} if own is not None else {}) | losses
    said = ", ".join(f"{CALLED[stage]} {loss:.2f}" for stage, loss in known.items())
    return Figure(
        [],
        f"What was forgotten: mean surprise at held-out text of the six kinds, in nats a token: {said}.",
        "The mixture's validation documents; the base model's is the lowest of its training, after which it was kept.",
        made_by=list(losses)[-1],
        table=Table(["stage", "nats a token"], [[CALLED[stage], loss] for stage, loss in known.items()]),
    )


def win_rate(chain: Chain) -> dict[str, Any] | None:
    """Return how often the preferred model's answers beat the fine-tuned one's by the rubric; None if unknown."""
    told: dict[str, Any] | None = (chain.test("rlhf") or {}).get("win_rate")
    return told
