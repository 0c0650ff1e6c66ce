"""Chapter: what becomes of what people want as a model of it is pushed."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import altair as alt
import numpy as np

from nudge.report import style
from nudge.report.chapter import Chapter, Chart, Figure, Table
from nudge.report.evidence import Evidence

NAME = "overoptimisation"
WAYS = {"best_of_n": "best of n", "rl": "reinforcement learning"}
FITTED = 40  # points of a fitted curve
ROOT = "distance from the start, √KL (√nats)"

Told = Mapping[str, Any]


def chapter(evidence: Evidence) -> Chapter:
    """Draw proxy and gold against the distance from the start, by how many pairs the reward model learned from."""
    chain = evidence.chain
    told = chain.studies.get(NAME)
    return Chapter(
        "Too much of a good thing",
        NAME,
        {
            **{way: chain.of_study(NAME, partial(_way, way=way)) for way in WAYS},
            "turning": chain.of_study(NAME, _turning),
        },
        {"rater": told and told["rater"], "sizes": told and [row["pairs"] for row in told["sizes"]]},
        made_by=[NAME] if NAME in evidence.made else [],
    )


def _name(pairs: int) -> str:
    return f"{pairs:,} pairs"


def _scale(told: Told) -> alt.Scale:
    """Return colours from pale to strong: more pairs, more colour."""
    names = [_name(row["pairs"]) for row in told["sizes"]]
    colours = [style.SERIES[place] for place in (1, 4, 2, 0, 5, 3, 6)]
    return alt.Scale(domain=names, range=[colours[place % len(colours)] for place in range(len(names))])


def _way(told: Told, way: str) -> Figure:
    """Draw one way to push: gold with its fitted form, and the proxy that is pushed."""
    panels = []
    for what, says in (("gold", "gold: what people want"), ("proxy", "proxy: what the reward model says")):
        points = [
            {
                "d": point["d"],
                "pairs": _name(row["pairs"]),
                **{key: point[what][key] for key in ("mean", "low", "high")},
            }
            for row in told["sizes"]
            for point in row[way]["points"]
        ]
        base = alt.Chart(style.data(points)).encode(
            color=alt.Color("pairs:N", title=None, sort=None, scale=_scale(told), legend=alt.Legend(columns=3))
        )
        x = alt.X("d:Q", title=ROOT)
        dots = base.mark_point(size=26).encode(
            x=x,
            y=alt.Y("mean:Q", title=f"{what} reward", scale=alt.Scale(zero=False)),
            tooltip=["pairs:N", alt.Tooltip("d:Q", format=".2f"), alt.Tooltip("mean:Q", format=".3f")],
        )
        spans = base.mark_rule(strokeWidth=1).encode(x=x, y=alt.Y("low:Q", title=f"{what} reward"), y2="high:Q")
        layers = spans + dots
        if what == "gold":
            fitted = [one for row in told["sizes"] for one in _fitted(row[way], way, _name(row["pairs"]))]
            layers += (
                alt.Chart(style.data(fitted))
                .mark_line(strokeWidth=1.6)
                .encode(x=x, y="mean:Q", color=alt.Color("pairs:N", sort=None, scale=_scale(told)))
            )
            if way == "best_of_n":
                ideal = alt.Chart(style.data(_ideal(told))).mark_line(strokeDash=[4, 4], color=style.MUTED)
                layers += ideal.encode(x=x, y="mean:Q", tooltip=[alt.Tooltip("mean:Q", format=".3f")])
        else:
            layers += base.mark_line(strokeWidth=1.2).encode(x=x, y="mean:Q", order="d:Q")
        text = f"{what.capitalize()} reward against the root of KL, {WAYS[way]}, by pairs of the reward model."
        panels.append(Chart(f"{way.replace('_', '-')}-{what}", style.finish(layers, text, 280), says))
    return Figure(
        panels,
        f"{WAYS[way].capitalize()}: {_in_words(told, way)}",
        (
            "The mean over all choices of n from one pool of answers to each question; KL = ln n − (n − 1)/n (Gao et "
            "al. 2022). Curves: d(α − βd), fitted to the gain of gold; dashed where gold itself "
            "chooses."
            if way == "best_of_n"
            else "The policy at several steps, on questions of validation families; KL estimated by k1. Curves: "
            "d(α − β ln d) (Gao et al. 2022), fitted to the gain of gold."
        )
        + " The proxy is in standard deviations of its scores of the fine-tuned model's answers. Bars are 95 % "
        "intervals over questions.",
        made_by=NAME,
        narrow=290,
    )


def _fitted(curve: Told, way: str, name: str) -> list[dict[str, Any]]:
    """Return points of the fitted form, from the gold that it began with."""
    start = curve["points"][0]["gold"]["mean"]
    alpha, beta = (curve["fit"][key]["mean"] for key in ("alpha", "beta"))
    most = max(point["d"] for point in curve["points"])
    return [
        {
            "d": d,
            "mean": start + d * (alpha - beta * (d if way == "best_of_n" else math.log(d) if d > 0 else 0.0)),
            "pairs": name,
        }
        for d in np.linspace(0, most, FITTED).tolist()
    ]


def _ideal(told: Told) -> list[dict[str, Any]]:
    """Return what the best of n is worth where gold itself chooses."""
    places = [point["d"] for point in told["sizes"][0]["best_of_n"]["points"]]
    means = np.asarray(told["gold_chooses"], dtype=np.float64).mean(0)
    return [{"d": d, "mean": mean} for d, mean in zip(places, means.tolist(), strict=True)]


def _in_words(told: Told, way: str) -> str:
    """Say of each size where gold was highest and where it ended."""
    said = []
    for row in told["sizes"]:
        best, last = row[way]["highest_gold"], row[way]["points"][-1]
        peak, end = best["gold"]["mean"], last["gold"]["mean"]
        falls = last["gold"]["high"] is not None and last["gold"]["high"] < peak
        said.append(
            f"with {_name(row['pairs'])} gold is highest, {peak:.2f}, at {best['d']:.1f}"
            + (f" and falls to {end:.2f}" if falls else f", and {end:.2f} at the end")
        )
    return "; ".join(said) + "."


def _turning(told: Told) -> Figure:
    """Tell the fitted forms: where each turns, and how well it fits."""
    rows: list[Sequence[Any]] = []
    for row in told["sizes"]:
        for way, name in WAYS.items():
            fit = row[way]["fit"]
            turning = fit["turning"]
            rows.append(
                [
                    _name(row["pairs"]),
                    name,
                    *(_between(fit[key]) for key in ("alpha", "beta")),
                    "none within what was measured" if turning["mean"] is None else _between(turning),
                    fit["rms"],
                ]
            )
    turned = sum(row[way]["fit"]["turning"]["mean"] is not None for row in told["sizes"] for way in WAYS)
    return Figure(
        [],
        f"The fitted curves turn within what was measured in {turned} of {len(rows)} cases.",
        "Least squares; in brackets 95 % intervals by bootstrap over questions. The turning point is where the fitted "
        "curve is highest, in √nats; the residual is the root of the mean square, in units of gold.",
        made_by=NAME,
        table=Table(["reward model of", "pushed by", "α", "β", "turns at", "residual"], rows),
    )


def _between(told: Told) -> str:
    mean, low, high = (told[key] for key in ("mean", "low", "high"))
    if mean is None:
        return "–"
    text = f"{mean:.2f}" if low is None or high is None else f"{mean:.2f} ({low:.2f} to {high:.2f})"
    return text.replace("-", "−")
