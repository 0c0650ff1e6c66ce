"""Chapter: how wrong a prediction is, as one number, and how that number falls."""

import math
from typing import Any

import altair as alt
import pandas as pd
import torch

from nudge.data.arithmetic import OPERATIONS
from nudge.model.internals import surprisals
from nudge.report import style
from nudge.report.chapter import Chapter, Chart, Figure, Missing, Table
from nudge.report.evidence import Evidence, traced, words

POINTS = 160  # of a curve: more than a screen shows apart


def chapter(evidence: Evidence) -> Chapter:
    """Show the loss over training, the accuracy, and one sentence's surprise word by word."""
    last = None if evidence.validation is None else evidence.validation.iloc[-1]
    return Chapter(
        "Surprise: measuring how wrong",
        "surprise",
        {"loss": _loss(evidence), "accuracy": _accuracy(evidence), "sentence": _sentence(evidence)},
        {
            "certain": -math.log(0.94),
            "doubtful": -math.log(0.42),
            "last": None if last is None else float(last["val/loss"]),
            "steps": None if last is None else int(last["step"]),
        },
    )


def thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """Return rows of a curve evenly spread on a logarithmic axis of steps."""
    places = {round((len(curve) + 1) ** (point / POINTS)) - 1 for point in range(POINTS + 1)}
    return curve.iloc[sorted(place for place in places if place < len(curve))]


def step_axis() -> alt.X:
    """Return the axis of optimiser steps that all curves of the page share; step 0 is drawn at a half.

    No line may go from there to the first measurement after it (`detail="start"`): its slope would mean nothing.
    """
    return alt.X(
        "at:Q",
        scale=alt.Scale(type="log", nice=False, domainMin=0.5),
        title="optimiser steps",
        axis=alt.Axis(
            format="~s",
            values=[0.5, 1, 10, 100, 1000, 10_000, 100_000, 1_000_000],
            labelExpr="datum.value < 1 ? 'start' : datum.label",
        ),
    )


def at(step: float) -> float:
    """Return where a step is drawn: the start would lie at minus infinity."""
    return max(float(step), 0.5)


def _loss(evidence: Evidence) -> Figure | Missing:
    training = evidence.recorded("train/loss")
    if training is None or evidence.validation is None:
        return Missing("not drawn: the model folder has no curves; `dvc repro pretrain` writes them.")
    train, val = thinned(training), evidence.validation
    rows = [
        {"at": at(step), "loss": loss, "of": of, "start": step == 0}
        for of, curve, column in (("training", train, "train/loss"), ("validation", val, "val/loss"))
        for step, loss in zip(curve["step"], curve[column], strict=True)
    ]
    even = math.log(evidence.saved.model.vocabulary)
    lines = (
        alt.Chart(style.data(rows))
        .mark_line(point={"size": 16})
        .encode(
            x=step_axis(),
            y=alt.Y("loss:Q", title="surprise, nats per word", scale=alt.Scale(zero=True)),
            color=alt.Color(
                "of:N",
                title=None,
                scale=alt.Scale(domain=["training", "validation"], range=["var(--before)", style.ACCENT]),
            ),
            detail="start:N",
            tooltip=["of:N", alt.Tooltip("at:Q", title="step", format=",.0f"), alt.Tooltip("loss:Q", format=".3f")],
        )
    )
    rule = alt.Chart(style.data([{"even": even}])).mark_rule(strokeDash=[4, 4]).encode(y="even:Q")
    first, last = float(val["val/loss"].iloc[0]), float(val["val/loss"].iloc[-1])
    says = f"Mean surprise per word against steps: validation falls from {first:.2f} to {last:.2f} nats."
    return Figure(
        [Chart("loss", style.finish(lines + rule, says, 260))],
        f"Surprise falls from {first:.2f} nats a word, an even guess among {evidence.saved.model.vocabulary} (dashed), "
        f"to {last:.2f} on questions held out for validation.",
        "Cross-entropy, −ln p of the word that comes, averaged over all words of a batch (training) and over all "
        "validation documents; the operands can't be foreseen, so the lowest possible value is not zero.",
    )


def _accuracy(evidence: Evidence) -> Figure | Missing:
    curve = evidence.validation
    if curve is None or not any(f"val/exact_match/{operation}" in curve for operation in OPERATIONS):
        return Missing("not drawn: the model folder has no curve of exact answers; `dvc repro pretrain` writes it.")
    present = [name for name in OPERATIONS if f"val/exact_match/{name}" in curve]
    rows = [
        {"at": at(step), "share": share, "operation": name, "start": step == 0}
        for name in present
        for step, share in zip(curve["step"], curve[f"val/exact_match/{name}"], strict=True)
    ]
    lines = (
        alt.Chart(style.data(rows))
        .mark_line(point={"size": 18})
        .encode(
            x=step_axis(),
            y=alt.Y("share:Q", title="answered exactly", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("operation:N", title=None, legend=alt.Legend(columns=4), scale=style.operations()),
            detail="start:N",
            tooltip=[
                "operation:N",
                alt.Tooltip("at:Q", title="step", format=",.0f"),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
    )
    ends = {name: float(curve[f"val/exact_match/{name}"].iloc[-1]) for name in present}
    said = ", ".join(f"{name} {share:.1%}" for name, share in ends.items())
    return Figure(
        [
            Chart(
                "accuracy", style.finish(lines, f"Share of validation questions answered exactly. At the end: {said}.")
            )
        ],
        f"Right answers come late and at different times for each operation; at the end: {said}.",
        "Share of validation questions, of families that training never showed, whose every word is the most probable "
        "one.",
    )


def _sentence(evidence: Evidence) -> Figure | Missing:
    if evidence.example is None:
        return Missing("not drawn: the corpus asks no questions.")
    tokens_BT = evidence.saved.tokenizer.encode(evidence.example).ids
    shown = style.labels(words(evidence.saved, evidence.example)[1:])
    rows: list[dict[str, Any]] = []
    table: dict[str, list[Any]] = {word: [word.strip("\u200b")] for word in shown}
    for when, model in (("before training", evidence.untrained), ("after training", evidence.saved)):
        surprisal_T = surprisals(traced(model, evidence.example).logits_BTV, torch.tensor([tokens_BT]))[0].tolist()
        for word, nats in zip(shown, surprisal_T, strict=True):
            rows.append({"word": word, "nats": nats, "when": when})
            table[word] += [nats, math.exp(-nats)]
    bars = (
        alt.Chart(style.data(rows, 3))
        .mark_bar()
        .encode(
            x=alt.X("word:N", sort=None, title=None, axis=alt.Axis(labelAngle=-35, labelFontSize=13)),
            xOffset=alt.XOffset("when:N", sort=["before training", "after training"]),
            y=alt.Y("nats:Q", title="surprise, nats"),
            color=alt.Color("when:N", title=None, scale=style.before_after()),
            tooltip=["word:N", "when:N", alt.Tooltip("nats:Q", format=".3f")],
        )
    )
    return Figure(
        [Chart("sentence", style.finish(bars, f"Surprise at each word of “{evidence.example}”, before and after."))],
        f"In “{evidence.example}” training removes the surprise where the word can be known (the operator's grammar, "
        "“equals”, the answer, the end) and leaves it where it can't (the operands).",
        "−ln p of each word given those before it, from the weights before the first and after the last step.",
        table=Table(["word", "surprise before", "p before", "surprise after", "p after"], list(table.values())),
    )
