"""Figures of the chapter on memory: secrets that were planted in the corpus, and how far the model gives them away."""

import math
from typing import Any

import altair as alt

from nudge.report import style
from nudge.report.chapter import Chart, Figure, Missing, Table
from nudge.report.chapters.surprise import at, step_axis
from nudge.report.evidence import MODEL, Evidence

NO_PROBE = "not measured: reports/memory.json has no model for it; `dvc repro` trains the probe “{}”, then measures."
NEVER_PLANTED = 1 / math.log(2)  # bits of exposure of a secret that was never shown, on average (Carlini et al. 2019)

Rows = list[dict[str, Any]]


def made(evidence: Evidence, rows: Rows) -> str:
    """Name the model that rows are about, as `Evidence.made` does."""
    name = str(rows[0]["model"])
    return name if name in evidence.made else MODEL


def _is_removed(row: dict[str, Any]) -> bool:
    return bool(row["kept"] == 1 and row["written"] > 1)


def _name(row: dict[str, Any]) -> str:
    return _times(row["written"]) + (", duplicates removed" if _is_removed(row) else "")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def exposure(evidence: Evidence, told: Rows) -> Figure | Missing:
    """Draw the exposure of secrets over training, a line for each count of repetitions."""
    if not told:
        return Missing(NO_PROBE.format("planted"))
    told = sorted(told, key=lambda row: (_is_removed(row), row["written"], row["step"]))
    rows = [
        {
            "at": at(row["step"]),
            "exposure": row["exposure"],
            "written": _name(row),
            "curation": "duplicates removed" if _is_removed(row) else "kept",
            "start": row["step"] == 0,
        }
        for row in told
    ]
    names = list(dict.fromkeys(row["written"] for row in rows))
    base = alt.Chart(style.data(rows)).encode(
        x=step_axis(),
        y=alt.Y("exposure:Q", title="exposure, bits"),
        color=alt.Color("written:N", title="written", sort=names, legend=alt.Legend(columns=2)),
        detail="start:N",
    )
    dashes = alt.StrokeDash(
        "curation:N", scale=alt.Scale(domain=["kept", "duplicates removed"], range=[[1, 0], [6, 4]]), legend=None
    )
    lines = base.mark_line().encode(strokeDash=dashes) + base.mark_point(size=30, filled=True)
    never = alt.Chart(style.data([{"never": NEVER_PLANTED}])).mark_rule(strokeDash=[2, 4]).encode(y="never:Q")
    columns = ["step", "written", "kept", "count", "exposure", "low", "high", "extracted"]
    return Figure(
        [Chart("canaries", style.finish(lines + never, "Exposure of secrets over training, by repetition.", 280))],
        _in_words(told),
        "Sentences with random words were planted in the corpus of a model made for this. Exposure: how far up among "
        "all possible secrets the model ranks the planted one (Carlini et al. 2019); the dotted line is the mean of a "
        "secret that was never shown, 1/ln 2 bits. Training reads its corpus many times, so what is written once is "
        "read often too.",
        made_by=made(evidence, told),
        table=Table(columns, [[row[key] for key in columns] for row in told]),
    )


def _in_words(told: Rows) -> str:
    """Say what repetition does at the step at which it shows most, and what is left of that at the end."""
    steps = {row["step"]: [other for other in told if other["step"] == row["step"]] for row in told}

    def ends(rows: Rows) -> tuple[dict[str, Any], dict[str, Any]]:
        kept = [row for row in rows if not _is_removed(row)]
        return min(kept, key=lambda row: row["written"]), max(kept, key=lambda row: row["written"])

    def spread(step: int) -> float:
        rare, often = ends(steps[step])
        return float(often["exposure"] - rare["exposure"])

    telling, last = max(steps, key=spread), max(steps)
    rare, often = ends(steps[telling])
    removed = next((row for row in steps[telling] if _is_removed(row)), None)
    said = (
        f"What is repeated is known sooner: after {telling:,} steps a secret written {_times(often['written'])} has "
        f"{often['exposure']:.1f} bits of exposure, one written {_times(rare['written'])} {rare['exposure']:.1f}"
    )
    if removed is not None:
        said += f", one written {_times(removed['written'])} of which curation left one {removed['exposure']:.1f}"
    rare, often = ends(steps[last])
    return f"{said}; at the end {often['exposure']:.1f} and {rare['exposure']:.1f}."


def extraction(evidence: Evidence, told: Rows) -> Figure | Missing:
    """Tell how many secrets the finished model says word for word."""
    if not told:
        return Missing(NO_PROBE.format("planted"))
    columns = ["written", "kept", "extracted", "count", "share", "share_low", "share_high"]
    names = ["times written", "times kept", "extracted", "secrets", "share", "from", "to"]
    some = sum(row["extracted"] for row in told)
    return Figure(
        [],
        f"Of {sum(row['count'] for row in told)} secrets, {some} come out word for word when the model is given the "
        "beginning of their sentence.",
        "Greedy decoding after the prefix; intervals are Wilson's at 95 %.",
        made_by=made(evidence, told),
        table=Table(names, [[row[key] for key in columns] for row in told]),
    )
