"""Figure of the chapter on sources: what curation is worth, by models that were trained with and without it."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from nudge.report import style
from nudge.report.chapter import Chart, Figure, Missing, Table
from nudge.report.evidence import Evidence

NAME = "curation"
CURATED, RAW, WITHOUT = "curated", "raw", "without_"
SHARES = {  # measures that are shares, and what they are called here
    "exact_match": "held-out questions answered exactly",
    "taught_wrong": "planted lies that it repeats",
    "wrong_that_was_taught": "wrong answers that were taught",
    "personal_extracted": "personal data given away",
    "canary_extracted": "secrets said word for word",
}
BITS = {"canary_exposure": "exposure of secrets, bits"}
DRAWN = ("exact_match", "taught_wrong", "canary_exposure", "personal_extracted")

Told = Mapping[str, Any]


def worth(evidence: Evidence) -> Figure | Missing:
    """Draw what models of raw, curated and almost curated text know, and what they give away."""
    return evidence.chain.of_study(NAME, _worth)


def _worth(told: Told) -> Figure:
    arms = told["arms"]
    known = SHARES | BITS
    present = [name for name in known if any(_has(arm, name) for arm in arms)]
    panels = [_panel(arms, name, known[name]) for name in DRAWN if name in present]
    rows = [[_name(arm["arm"]), len(arm["seeds"]), *(_cell(arm, name) for name in present)] for arm in arms]
    return Figure(
        panels,
        _in_words(arms),
        "The base model on each corpus for equally many tokens; the same test questions, of families that no clean "
        "training text states. 95 % intervals over questions or secrets, and over runs where there are several; with "
        f"each filter left out alone there {_fewest(arms)}.",
        made_by=NAME,
        narrow=300,
        table=Table(["corpus", "runs", *(known[name] for name in present)], rows),
    )


def _has(arm: Told, name: str) -> bool:
    return arm["measures"].get(name, {}).get("mean") is not None


def _name(arm: str) -> str:
    return f"without {arm.removeprefix(WITHOUT).replace('_', ' ')}" if arm.startswith(WITHOUT) else arm


def _kind(arm: str) -> str:
    return arm if arm in (CURATED, RAW) else "one filter left out"


def _fewest(arms: Sequence[Told]) -> str:
    count = min(len(arm["seeds"]) for arm in arms)
    return "is one run" if count == 1 else f"are {count} runs"


def _panel(arms: Sequence[Told], measure: str, says: str) -> Chart:
    rows = [
        {"arm": _name(arm["arm"]), "kind": _kind(arm["arm"]), **{k: at[k] for k in ("mean", "low", "high")}}
        for arm in arms
        if _has(arm, measure)
        for at in [arm["measures"][measure]]
    ]
    scale = alt.Scale(
        domain=[CURATED, RAW, "one filter left out"], range=[style.SERIES[0], "var(--no)", style.SERIES[6]]
    )
    base = alt.Chart(style.data(rows)).encode(
        y=alt.Y("arm:N", sort=None, title=None, axis=alt.Axis(labelFontSize=11, labelColor=style.INK, labelLimit=150)),
        color=alt.Color("kind:N", scale=scale, legend=None),
    )
    axis = alt.Axis(format="%" if measure in SHARES else "~s", tickCount=4)
    whole = alt.Scale(zero=measure != "exact_match", nice=True)
    lines = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=None, axis=axis, scale=whole), x2="high:Q")
    points = base.mark_point(size=50).encode(
        x=alt.X("mean:Q", title=None, axis=axis, scale=whole),
        tooltip=["arm:N", alt.Tooltip("mean:Q", format=".1%" if measure in SHARES else ".2f")],
    )
    said = "; ".join(f"{row['arm']} {_shown(row['mean'], measure)}" for row in rows)
    spec = style.finish(lines + points, f"{says.capitalize()}: {said}.", 40 + 19 * len(rows))
    return Chart(f"worth-{measure.replace('_', '-')}", spec, says)


def _shown(value: float | None, measure: str) -> str:
    if value is None:
        return "–"
    return f"{value:.1%}" if measure in SHARES else f"{value:.2f}"


def _cell(arm: Told, measure: str) -> str:
    if not _has(arm, measure):
        return "–"
    mean, low, high = (arm["measures"][measure][key] for key in ("mean", "low", "high"))
    between = "" if low is None or high is None else f" ({_shown(low, measure)} to {_shown(high, measure)})"
    return f"{_shown(mean, measure)}{between}"


def _in_words(arms: Sequence[Told]) -> str:
    """Compare raw with curated text, then name the filter without which most lies are repeated."""
    by_name = {arm["arm"]: arm for arm in arms}
    raw, curated = by_name.get(RAW), by_name.get(CURATED)
    if raw is None or curated is None:
        return "What models of differently curated text know, and what they give away."
    known = SHARES | BITS
    said = "; ".join(
        f"{known[name]}: {_shown(raw['measures'][name]['mean'], name)} from raw text, "
        f"{_shown(curated['measures'][name]['mean'], name)} from curated"
        for name in DRAWN
        if _has(raw, name) and _has(curated, name)
    )
    return f"{said[:1].upper()}{said[1:]}."
