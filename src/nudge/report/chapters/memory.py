"""Chapter: understood, or learned by heart?"""

import itertools
from typing import Any

import altair as alt
import numpy as np
from sklearn.metrics import roc_curve

from nudge.report import style
from nudge.report.all_facts import HELD_OUT
from nudge.report.chapter import Chapter, Chart, Figure, Missing, Table
from nudge.report.chapters import canaries
from nudge.report.chapters.surprise import at, step_axis
from nudge.report.evidence import MODEL, Evidence

NOTHING = Missing("not measured: reports/memory.json has no rows of it; run `dvc repro memory`.")
ROC_POINTS = 120
ATTACKS = ("loss", "reference", "null control")

Rows = list[dict[str, Any]]


def chapter(evidence: Evidence) -> Chapter:
    """Show how accuracy falls with distance from training, and what can be told of the training texts themselves."""
    memory = evidence.memory
    names = ("distance", "canaries", "extraction", "membership", "roc", "by_heart")
    title, anchor = "Understood, or memorised?", "memory"
    if memory is None:
        return Chapter(
            title, anchor, dict.fromkeys(names, Missing(evidence.why["memory"])), {"capacity": None, "control": None}
        )
    capacity = next(iter(memory.get("capacity", [])), None)
    control = next(iter(memory.get("canary_control", [])), None)
    return Chapter(
        title,
        anchor,
        {
            "distance": _distance(memory.get("distance", [])),
            "canaries": canaries.exposure(evidence, memory.get("canaries_by_step", [])),
            "extraction": canaries.extraction(evidence, memory.get("canaries_by_repeats", [])),
            "membership": _membership(memory.get("membership", [])),
            "roc": _roc(evidence),
            "by_heart": _by_heart(evidence, memory.get("by_heart", [])),
        },
        {"capacity": capacity, "control": control},
        made_by=[
            MODEL,
            *(
                row["model"]
                for row in memory.get("models", [])
                if row["model"] in evidence.made and row["model"] != MODEL
            ),
        ],
    )


def _percent(title: str) -> alt.X:
    return alt.X("share:Q", title=title, axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))


def _distance(told: Rows) -> Figure | Missing:
    rows = [row for row in told if row["operation"] == "all" and row["count"]]
    if not rows:
        return NOTHING
    kinds = list(dict.fromkeys(row["kind"] for row in told))
    base = alt.Chart(style.data([{key: row[key] for key in ("model", "kind", "share", "low", "high")} for row in rows]))
    where = {
        "y": alt.Y("kind:N", sort=kinds, title=None, axis=alt.Axis(labelFontSize=12, labelColor=style.INK)),
        "yOffset": alt.YOffset("model:N", sort=None),
        "color": alt.Color("model:N", title=None, sort=None),
    }
    points = base.mark_point(size=70).encode(
        x=_percent("answered exactly"), tooltip=["model:N", "kind:N", alt.Tooltip("share:Q", format=".1%")], **where
    )
    lines = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title="answered exactly"), x2="high:Q", **where)
    table = [
        [row["model"], row["kind"], row["share"], row["low"], row["high"], row["count"]]
        if row["count"]
        else [row["model"], row["kind"], row.get("reason"), None, None, 0]
        for row in told
        if row["operation"] == "all"
    ]
    of_main = {row["kind"]: row["share"] for row in rows if row["model"] == MODEL}
    said = "; ".join(f"{kind} {share:.1%}" for kind, share in of_main.items())
    return Figure(
        [Chart("distance", style.finish(lines + points, f"Right answers by distance from training. {said}.", 300))],
        f"The further a question is from what training showed, the less is right: {said}."
        if _falls(list(of_main.values()))
        else f"Right answers by how far a question is from what training showed: {said}.",
        "Exact match by greedy decoding; lines are Wilson's 95 % intervals. The model “planted” is trained on a corpus "
        "from which orders, numbers and answers were held out for this.",
        table=Table(["model", "question", "share", "from", "to", "questions"], table),
    )


def _falls(shares: list[float]) -> bool:
    return len(shares) > 1 and all(near >= far for near, far in itertools.pairwise(shares))


def _membership(told: Rows) -> Figure | Missing:
    rows = [row for row in told if row["operation"] == "all" and row["auc"] is not None]
    if not rows:
        return NOTHING
    named = [
        {**row, "name": f"{row['model']}: {row['attack']}" + ("" if row["facts"] == "all" else f" ({row['facts']})")}
        for row in rows
    ]
    base = alt.Chart(style.data([{key: row[key] for key in ("name", "auc", "auc_low", "auc_high")} for row in named]))
    y = alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=160))
    points = base.mark_point(size=70).encode(
        y=y,
        x=alt.X("auc:Q", title="area under the ROC curve", scale=alt.Scale(domain=[0.4, 1])),
        tooltip=["name:N", "auc:Q"],
    )
    lines = base.mark_rule(color=style.ACCENT, strokeWidth=2).encode(
        y=y, x=alt.X("auc_low:Q", title="area under the ROC curve"), x2="auc_high:Q"
    )
    blind = alt.Chart(style.data([{"blind": 0.5}])).mark_rule(strokeDash=[4, 4]).encode(x="blind:Q")
    main = next((row for row in rows if row["attack"] == "loss" and row["model"] == MODEL), rows[0])
    columns = ["model", "attack", "facts", "auc", "auc_low", "auc_high", "tpr", "tpr_low", "tpr_high"]
    names = ["model", "attack", "facts", "AUC", "from", "to", "found at 1 % false alarms", "from", "to"]
    return Figure(
        [Chart("membership", style.finish(points + lines + blind, "Area under the ROC curve of each attack.", 200))],
        f"Who guesses by the model's surprise whether it was trained on a fact is right with an AUC of "
        f"{main['auc']:.3f} ({main['auc_low']:.3f} to {main['auc_high']:.3f}); 0.5, dashed, is blind.",
        "A threshold on the surprise at the answer, alone and against a reference model that never saw the fact; the "
        "null control tries to tell two halves of held-out facts apart and must fail. Bootstrap over families, 95 %.",
        table=Table(names, [[row[key] for key in columns] for row in rows]),
    )


def _roc(evidence: Evidence) -> Figure | Missing:
    """Draw the loss attack's ROC curve from the answers that the page has anyway."""
    answered = evidence.answered
    if answered is None:
        return Missing("not drawn: the corpus states no arithmetic facts.")
    # Facts that no split has differ from training by more than by their membership.
    kept_N = np.array([row["split"] != HELD_OUT for row in answered.questions.rows])
    member_N = np.array([row["split"] == "train" for row in answered.questions.rows])[kept_N]
    asked_NT = answered.questions.asked_BT.numpy()[:, :-1]
    surprisal_N = (answered.surprisal_NT * asked_NT).sum(1)[kept_N]
    false_P, true_P, _ = roc_curve(member_N, -surprisal_N)
    places = np.unique(np.linspace(0, len(false_P) - 1, ROC_POINTS).round().astype(int))
    curve = [{"false": false_P[place], "true": true_P[place]} for place in places]
    axis = alt.Axis(format="%")
    line = (
        alt.Chart(style.data(curve))
        .mark_line(color=style.ACCENT)
        .encode(
            x=alt.X("false:Q", title="false alarms", axis=axis, sort=None),
            y=alt.Y("true:Q", title="found", axis=axis),
            order="false:Q",
        )
    )
    blind = alt.Chart(style.data([{"at": 0}, {"at": 1}])).mark_line(strokeDash=[4, 4], color=style.MUTED)
    blind = blind.encode(x="at:Q", y="at:Q")
    return Figure(
        [Chart("roc", style.finish(line + blind, "ROC curve of guessing membership by the surprise.", 260))],
        "The curve of the same attack: the closer to the dashed diagonal, the less the model gives away of what it was "
        "trained on.",
        "Training facts against held-out ones, ranked by the surprise at their right answer.",
    )


def _by_heart(evidence: Evidence, told: Rows) -> Figure | Missing:
    if not told:
        return Missing(canaries.NO_PROBE.format("shuffled"))
    shuffled = [{"at": at(row["step"]), "share": row["share"], "of": "shuffled answers"} for row in told]
    curve = evidence.validation
    true = (
        [
            {"at": at(step), "share": share, "of": "true answers, never seen", "start": step == 0}
            for step, share in zip(curve["step"], curve["val/exact_match"], strict=True)
        ]
        if curve is not None and "val/exact_match" in curve
        else []
    )
    lines = (
        alt.Chart(style.data([*({**row, "start": row["at"] < 1} for row in shuffled), *true]))
        .mark_line(point={"size": 18})
        .encode(
            x=step_axis(),
            y=alt.Y("share:Q", title="answered exactly", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("of:N", title=None, sort=None, legend=alt.Legend(columns=1)),
            detail="start:N",
        )
    )
    last = told[-1]
    return Figure(
        [Chart("by-heart", style.finish(lines, "Facts with shuffled answers, learned by heart, against steps.", 240))],
        f"Where answers are shuffled there is nothing to understand: after {last['step']:,} steps a model of the same "
        f"size has {last['share']:.1%} of what it was shown by heart.",
        f"A probe trained on the same facts with their answers dealt out at random, asked {last['count']:,} of its own "
        "training facts at each kept step; beside it the story's model on validation facts.",
        made_by=canaries.made(evidence, told),
    )
