"""Figures of the run that moves the assistant towards what scores well."""

from typing import Any

import altair as alt
import pandas as pd

from nudge.report import style
from nudge.report.chain import Chain
from nudge.report.chapter import Chart, Figure, Missing

POINTS = 200  # of a curve
ESTIMATORS = ("k1", "k2", "k3")
SIGNALS = {  # the columns of the record, and what they are
    "entropy": "entropy, nats a token",
    "answers/distinct": "distinct answers",
    "answers/length": "length, tokens",
    "groups/dead": "groups without signal",
    "clip_fraction": "clipped tokens",
    "loss/value": "value loss",
    "reward/accuracy": "pairs told right",
    "reward/margin": "margin of implicit rewards",
}


def algorithm(chain: Chain) -> dict[str, Any] | None:
    """Return the settings of the algorithm that made the preferred model."""
    model = chain.models.get("rlhf")
    told: dict[str, Any] | None = None if model is None else model.config.get("algorithm")
    return told


def curves(chain: Chain) -> dict[str, Figure | Missing]:
    """Draw the rewards, the divergence, and the signs of health of a run."""
    curve = chain.training.get("rlhf")
    if curve is None:
        missing = Missing(
            chain.lacks("rlhf")
            if "rlhf" not in chain.folders
            else "not drawn: the model has no curves; `dvc repro rlhf` writes them."
        )
        return {"rewards": missing, "health": missing}
    return {"rewards": _rewards(curve), "health": _health(curve)}


def _rows(curve: pd.DataFrame, column: str) -> pd.DataFrame:
    told = curve[["step", column]].dropna()
    return told.iloc[:: max(1, len(told) // POINTS)]


def _steps(title: str = "optimiser steps") -> alt.X:
    return alt.X("step:Q", title=title, axis=alt.Axis(format="~s"))


def _rewards(curve: pd.DataFrame) -> Figure | Missing:
    """Draw what the run maximises beside what people want, and how far it has gone from where it began."""
    if "reward/proxy" not in curve:
        return Missing(
            "not drawn: this algorithm draws no answers while it learns; it learns from the pairs themselves."
        )
    names = {"reward/proxy": "proxy: the reward model's score", "reward/gold": "gold: the rubric, never trained on"}
    panels = []
    for column, says in names.items():
        if column not in curve:
            continue
        told = _rows(curve, column)
        line = (
            alt.Chart(style.data([{"step": s, "reward": r} for s, r in told.itertuples(index=False)]))
            .mark_line(color=style.SERIES[0] if column.endswith("proxy") else style.SERIES[4])
            .encode(
                x=_steps(),
                y=alt.Y("reward:Q", title="mean reward", scale=alt.Scale(zero=False)),
                tooltip=["step:Q", alt.Tooltip("reward:Q", format=".3f")],
            )
        )
        name = column.split("/")[1]
        panels.append(
            Chart(f"rl-{name}", style.finish(line, f"Mean {name} reward of drawn answers against steps.", 190), says)
        )
    kinds = [name for name in ESTIMATORS if f"kl/{name}" in curve]
    if kinds:
        records = [
            {"step": s, "kl": value, "estimator": name}
            for name in kinds
            for s, value in _rows(curve, f"kl/{name}").itertuples(index=False)
        ]
        lines = (
            alt.Chart(style.data(records))
            .mark_line()
            .encode(
                x=_steps(),
                y=alt.Y("kl:Q", title="nats an answer"),
                color=alt.Color("estimator:N", title=None, legend=alt.Legend(columns=3)),
                tooltip=["estimator:N", "step:Q", alt.Tooltip("kl:Q", format=".3f")],
            )
        )
        title = "divergence from the fine-tuned model"
        panels.append(
            Chart("rl-kl", style.finish(lines, "Divergence from the fine-tuned model against steps.", 190), title)
        )
    ends = {
        name: _rows(curve, f"reward/{name}")[f"reward/{name}"]
        for name in ("proxy", "gold")
        if f"reward/{name}" in curve
    }
    said = " and ".join(
        f"{name} from {told.iloc[0]:.2f} to {told.iloc[-1]:.2f}".replace("-", "−") for name, told in ends.items()
    )
    return Figure(
        panels,
        f"The mean reward goes, {said}. The run climbs the proxy; gold tells whether that was worth it.",
        "Means over the answers that each iteration drew. The divergence is estimated from the drawn answers: k1 is "
        "the mean log-ratio and may be below zero, k3 never is (Schulman 2020).",
        made_by="rlhf",
        narrow=260,
    )


def _health(curve: pd.DataFrame) -> Figure | Missing:
    present = {column: says for column, says in SIGNALS.items() if column in curve and curve[column].notna().any()}
    if not present:
        return Missing("not drawn: the run recorded no signs of its health.")
    panels = []
    for place, (column, says) in enumerate(present.items()):
        told = _rows(curve, column)
        line = (
            alt.Chart(style.data([{"step": s, "value": v} for s, v in told.itertuples(index=False)]))
            .mark_line(color=style.SERIES[place % 7])
            .encode(
                x=_steps(),
                y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=column != "entropy")),
                tooltip=["step:Q", alt.Tooltip("value:Q", format=".3f")],
            )
        )
        name = column.replace("/", "-").replace("_", "-")
        panels.append(Chart(f"rl-{name}", style.finish(line, f"{says.capitalize()} against steps.", 140), says))
    return Figure(
        panels,
        "Signs of health: a policy that collapses says the same to everything, so its entropy and the share of "
        "distinct answers fall to nothing, and groups of equal answers have nothing left to learn from.",
        "As recorded at each step of the run; guards end it where the divergence or the share of distinct answers "
        "breaks its bounds.",
        made_by="rlhf",
        narrow=210,
    )
