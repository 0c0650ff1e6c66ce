"""Figures of the chapter on sources: what curation found of what was planted, and what it dropped."""

from collections.abc import Mapping
from typing import Any

import altair as alt

from nudge.report import style
from nudge.report.chapter import Chart, Figure, Missing, Table
from nudge.report.evidence import MIXTURE, Evidence
from nudge.report.spans import spans

SHOWN = 3  # examples of each filter
LONGEST = 150  # characters of an example

Found = Mapping[str, Any]


def spoken(name: str) -> str:
    """Return a name of the files as words."""
    return name.replace("_", " ")


def planted(found: Found, kinds: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return each kind of problem with what it is, and a text that has it."""
    shown: dict[str, str] = {}
    for one in found["filters"]:
        for example in one["examples"]:
            shown.setdefault(example["problem"], example["text"])
    names = [*(name for name in kinds if name in found["problems"]), *(n for n in found["problems"] if n not in kinds)]
    return [(spoken(name), kinds.get(name, ""), _cut(shown.get(name, ""))) for name in names]


def examples(found: Found) -> list[dict[str, Any]]:
    """Return for each filter that dropped something a few of its texts, the wrongly dropped ones apart."""
    return [
        {
            "filter": spoken(one["filter"]),
            "dropped": one["dropped"],
            "clean_dropped": one["clean_dropped"],
            "examples": [_shown(example) for example in one["examples"][:SHOWN]],
            "clean": [_shown(example) for example in one["clean_examples"][:SHOWN]],
        }
        for one in found["filters"]
        if one["dropped"]
    ]


def _shown(example: Mapping[str, str]) -> dict[str, str]:
    return {"text": _cut(example["text"]), "reason": example["reason"], "problem": spoken(example["problem"])}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"


def recall(evidence: Evidence) -> Figure | Missing:
    """Draw the share of each kind of problem that was found."""
    found = evidence.chain.curation
    if found is None:
        return Missing(evidence.chain.why["curation"])
    rows = [
        {"kind": spoken(name), **{key: one["recall"][key] for key in ("share", "low", "high", "count")}}
        for name, one in found["problems"].items()
        if one["recall"]["count"]
    ]
    if not rows:
        return Missing("not measured: nothing was planted (data.problems).")
    rows.sort(key=lambda row: -row["share"])
    lowest = min(row["low"] for row in rows)
    chart = spans(rows, "kind", "found, of what was planted", max(0.0, 0.1 * int(lowest * 10 - 0.5)))
    whole = [row["kind"] for row in rows if row["share"] == 1]
    least = rows[-1]
    says = f"All of what was planted is found of {len(whole)} kinds of {len(rows)}"
    says += f"; least of {least['kind']}: {least['share']:.0%}." if least["share"] < 1 else "."
    said = "; ".join(f"{row['kind']} {row['share']:.1%}" for row in rows)
    by_filter = {
        spoken(name): ", ".join(f"{spoken(filter_)} {count}" for filter_, count in one["by_filter"].items())
        for name, one in found["problems"].items()
    }
    table = [
        [row["kind"], row["count"], row["share"], row["low"], row["high"], by_filter[str(row["kind"])]] for row in rows
    ]
    return Figure(
        [Chart("recall", style.finish(chart, f"Share of each planted problem that was dropped. {said}.", 300))],
        f"{says} That a sum is false cannot be seen by one who knows no arithmetic: it is found where other texts "
        "say otherwise.",
        "Share of the planted documents that some filter dropped, by kind; lines are Wilson's 95 % intervals. The "
        "labels are in a file that curation never reads.",
        made_by=MIXTURE,
        table=Table(["problem", "planted", "found", "from", "to", "by which filter"], table),
    )


def dropped(evidence: Evidence) -> Figure | Missing:
    """Draw what each filter dropped, in their order: what was planted, and what was not."""
    found = evidence.chain.curation
    if found is None:
        return Missing(evidence.chain.why["curation"])
    order = [spoken(one["filter"]) for one in found["filters"]]
    rows = [
        {"filter": spoken(one["filter"]), "documents": count, "of": of, "rank": rank}
        for one in found["filters"]
        for rank, (of, count) in enumerate(
            (("planted", one["dropped"] - one["clean_dropped"]), ("nothing wrong with it", one["clean_dropped"]))
        )
    ]
    bars = (
        alt.Chart(style.data(rows))
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y("filter:N", sort=order, title=None, axis=alt.Axis(labelFontSize=12, labelColor=style.INK)),
            x=alt.X("documents:Q", title="documents dropped"),
            color=alt.Color(
                "of:N",
                title=None,
                sort=None,
                scale=alt.Scale(domain=["planted", "nothing wrong with it"], range=[style.ACCENT, "var(--no)"]),
            ),
            order="rank:Q",
            tooltip=["filter:N", "of:N", alt.Tooltip("documents:Q", format=",")],
        )
    )
    precision, kept = found["precision"], found["clean_kept"]
    said = "; ".join(f"{spoken(one['filter'])} {one['dropped']:,}" for one in found["filters"])
    table = [
        [
            spoken(one["filter"]),
            one["in"],
            one["out"],
            one["dropped"],
            one["clean_dropped"],
            *(one["precision"][key] for key in ("share", "low", "high")),
        ]
        for one in found["filters"]
    ]
    return Figure(
        [Chart("filters", style.finish(bars, f"Documents dropped by each filter: {said}.", 300))],
        f"The filters dropped {found['documents']['dropped']:,} documents; {_percent(precision)} of them had been "
        f"planted. Of the clean documents {_percent(kept)} are kept.",
        "One filter after the other, in the order of the configuration; what an earlier one dropped no later one "
        "sees. Intervals are Wilson's at 95 %. Nothing vanishes: corpus/mixture/dropped.parquet has every text with "
        "its reason.",
        made_by=MIXTURE,
        table=Table(
            ["filter", "in", "out", "dropped", "of these clean", "precision", "from", "to"],
            table,
        ),
    )


def _percent(share: Mapping[str, Any]) -> str:
    if share["share"] is None:
        return "–"
    return f"{share['share']:.1%} ({share['low']:.1%} to {share['high']:.1%})"
