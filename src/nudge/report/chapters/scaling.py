"""Chapter: how loss falls with weights and tokens, and whether a law of it foretold a larger run."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import altair as alt
import numpy as np

from nudge.report import style
from nudge.report.chapter import Chapter, Chart, Figure, Table
from nudge.report.evidence import Evidence

NAME = "scaling"
CORPORA = {"stdlib": "text, Python's own library", "calculator": "the calculator"}
CONSTANTS = {"E": "E", "A": "A", "alpha": "α", "B": "B", "beta": "β", "a": "a", "b": "b"}
FITTED = 24  # points of a fitted curve
SAID, CAME = "foretold, with its interval", "held out"
LOG = alt.Scale(type="log", nice=False, padding=12)
AXES = {"tokens": "tokens trained on (D)", "flops": "FLOP of the run"}

Told = Mapping[str, Any]


def chapter(evidence: Evidence) -> Chapter:
    """Show each corpus's losses with the law fitted to them, the run that was foretold, and the constants."""
    chain = evidence.chain
    told = chain.studies.get(NAME)
    return Chapter(
        "What would more weights buy?",
        NAME,
        {
            **{name: chain.of_study(NAME, partial(_sweep, name=name)) for name in CORPORA},
            "constants": chain.of_study(NAME, _constants),
        },
        {
            "verdicts": told and {CORPORA[name]: told["corpora"][name]["verdict"] for name in CORPORA},
            "answers": {"yes": "supported", "no": "not supported", "undecided": "inconclusive"},
        },
        made_by=[NAME] if NAME in evidence.made else [],
    )


def _name(run: Told) -> str:
    return f"{run['weights']:,} weights"


def _scale(runs: Sequence[Told]) -> alt.Scale:
    names = list(dict.fromkeys(_name(run) for run in sorted(runs, key=lambda run: run["weights"])))
    return alt.Scale(domain=names, range=[style.SERIES[place % len(style.SERIES)] for place in range(len(names))])


def _law(fit: Told, weights: float, tokens: float) -> float:
    """Return the loss by the law."""
    E, A, alpha, B, beta = (fit[key]["mean"] for key in ("E", "A", "alpha", "B", "beta"))
    return float(E + A * weights**-alpha + B * tokens**-beta)


def _sweep(study: Told, name: str) -> Figure:
    """Draw a corpus's losses against tokens and against FLOP, and what the law leaves of them."""
    told = study["corpora"][name]
    runs = [run for run in told["runs"] if run["role"] in ("fit", "held_out")]
    fit, said = told["foretold"]["fit"], told["foretold"]["loss"]
    titles = {"tokens": "Loss by tokens", "flops": "Loss by arithmetic"}
    charts = [Chart(f"{NAME}-{name}-{axis}", _losses(told, runs, axis), title) for axis, title in titles.items()]
    charts.append(Chart(f"{NAME}-{name}-residuals", _residuals(told, runs), "What the law leaves"))
    came, error = told["held_out"]["loss"], told["held_out"]["error"]
    epochs = max(run["epochs"] for run in runs)
    span = "" if said["low"] is None else f" ({said['low']:.3f} to {said['high']:.3f})"
    return Figure(
        charts,
        f"On {CORPORA[name]}, the law foretold {said['mean']:.3f} nats a token{span} for the largest run, and it came "
        f"to {came:.3f}, {abs(error):.1%} {'above' if error > 0 else 'below'}; of the runs that it was fitted to it is "
        f"off by {fit['rms']:.1%} (root mean square).",
        "Each point is a run of its own with its own learning-rate schedule; the loss is of its last weights, on "
        f"{told['measured_on']['tokens']:,} held-out tokens. Curves: E + A/N^α + B/D^β (Hoffmann et al. 2022), fitted "
        f"to all runs but the ringed one. The longest run is {epochs:.2g} epochs.",
        made_by=NAME,
        table=Table(
            ["weights", "all weights", "tokens", "FLOP", "loss", "bits per byte", "kind"],
            [
                [
                    *(run[key] for key in ("weights", "all_weights", "tokens")),
                    f"{run['flops']:.2g}",
                    *(run[key] for key in ("loss", "bits_per_byte")),
                    _kind(run),
                ]
                for run in told["runs"]
            ],
        ),
        narrow=290,
    )


def _kind(run: Told) -> str:
    kinds = {"fit": "fitted", "held_out": CAME, "seed": f"seed {run['seed']}", "rate": f"{run['rate']:g} × the rate"}
    return kinds[run["role"]]


def _losses(told: Told, runs: Sequence[Told], axis: str) -> dict[str, Any]:
    """Draw losses with the law's curves, and the run that was foretold."""
    fit, said = told["foretold"]["fit"], told["foretold"]["loss"]
    scale = _scale(runs)
    x = alt.X("x:Q", title=AXES[axis], scale=LOG, axis=alt.Axis(format="~s" if axis == "tokens" else "~e"))
    y = alt.Y("loss:Q", title="nats a token", scale=alt.Scale(type="log", nice=False))
    colour = alt.Color("size:N", title=None, scale=scale, sort=None, legend=alt.Legend(columns=2))
    rows = [{"x": run[axis], "loss": run["loss"], "size": _name(run)} for run in runs if run["role"] == "fit"]
    tooltip = ["size:N", alt.Tooltip("x:Q", format=".3s"), alt.Tooltip("loss:Q", format=".3f")]
    dots = alt.Chart(style.data(rows)).mark_point(size=34).encode(x=x, y=y, color=colour, tooltip=tooltip)
    lines = alt.Chart(style.data(_curves(fit, runs, axis))).mark_line(strokeWidth=1.4).encode(x=x, y=y, color=colour)
    last = [run for run in runs if run["role"] == "held_out"]
    ringed = [{"x": run[axis], "loss": run["loss"], "size": _name(run)} for run in last]
    rings = (
        alt.Chart(style.data(ringed))
        .mark_point(size=120, filled=False, strokeWidth=2)
        .encode(x=x, y=y, color=colour, tooltip=tooltip)
    )
    layers = lines + dots + rings
    if said["low"] is not None:
        interval = [{"x": last[0][axis], "low": said["low"], "high": said["high"]}]
        layers += (
            alt.Chart(style.data(interval))
            .mark_rule(strokeWidth=2, color=style.INK)
            .encode(x=x, y=alt.Y("low:Q", title="nats a token"), y2="high:Q")
        )
    text = f"Loss against {AXES[axis]} for {len(scale.to_dict()['domain'])} sizes, with the fitted law; ringed: {CAME}."
    return style.finish(layers, text, 300)


def _curves(fit: Told, runs: Sequence[Told], axis: str) -> list[dict[str, Any]]:
    """Return points of the law for each size, over the tokens that its runs learned from."""
    curves = []
    for weights in sorted({run["weights"] for run in runs}):
        own = [run for run in runs if run["weights"] == weights]
        each = own[0]["flops"] / own[0]["tokens"] if axis == "flops" else 1.0
        span = [math.log(run["tokens"]) for run in own]
        for log in np.linspace(min(span), max(span), FITTED).tolist():
            tokens = math.exp(log)
            curves.append({"x": tokens * each, "loss": _law(fit, weights, tokens), "size": _name(own[0])})
    return curves


def _residuals(told: Told, runs: Sequence[Told]) -> dict[str, Any]:
    """Draw ln of each loss over the law's; what has a shape is what the law has not."""
    fit = told["foretold"]["fit"]
    rows = [
        {
            "tokens": run["tokens"],
            "off": math.log(run["loss"] / _law(fit, run["weights"], run["tokens"])),
            "size": _name(run),
        }
        for run in runs
    ]
    zero = alt.Chart(style.data([{"zero": 0.0}])).mark_rule(strokeDash=[4, 4]).encode(y="zero:Q")
    dots = (
        alt.Chart(style.data(rows))
        .mark_line(point={"size": 34}, strokeWidth=1)
        .encode(
            x=alt.X("tokens:Q", title=AXES["tokens"], scale=LOG, axis=alt.Axis(format="~s")),
            y=alt.Y("off:Q", title="loss over the law's", axis=alt.Axis(format="+.1%")),
            color=alt.Color("size:N", title=None, scale=_scale(runs), sort=None, legend=alt.Legend(columns=2)),
            tooltip=["size:N", alt.Tooltip("off:Q", format="+.2%")],
        )
    )
    return style.finish(zero + dots, "How far each loss lies from the fitted law, by tokens and size.", 300)


def _constants(told: Told) -> Figure:
    """Tell the constants of all runs' fits."""
    rows = [
        [CORPORA[name], by, *(_between(fit[key]) for key in CONSTANTS), fit["rms"]]
        for name in CORPORA
        for by, fit in (
            ("without embeddings and output", told["corpora"][name]["fit"]),
            ("all weights", told["corpora"][name]["fit_to_all_weights"]),
        )
    ]
    shares = "; ".join(
        f"on {CORPORA[name]} a budget is best spent with N ∝ C^{_between(told['corpora'][name]['fit']['a'])}"
        for name in CORPORA
    )
    return Figure(
        [],
        f"Constants of the law, of these runs alone: {shares}. Where the law does not hold, its constants are those of "
        "a curve through the points and no more.",
        "Fitted to all runs, the held-out one too: Huber loss of ln L, many starts; in brackets 95 % intervals by "
        "bootstrap over runs. The last column is the root mean square of ln L.",
        made_by=NAME,
        table=Table(["corpus", "N counts", *CONSTANTS.values(), "residual"], rows),
    )


def _between(told: Told) -> str:
    mean, low, high = (told[key] for key in ("mean", "low", "high"))
    if mean is None:
        return "–"
    text = f"{mean:.3g}" if low is None or high is None else f"{mean:.3g} ({low:.3g} to {high:.3g})"
    return text.replace("-", "−")
