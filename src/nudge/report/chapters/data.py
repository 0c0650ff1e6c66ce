"""Chapter: what the model reads, and which questions are kept from it."""

import altair as alt

from nudge.data.arithmetic import OPERATIONS
from nudge.report import style
from nudge.report.chapter import Chapter, Chart, Figure, Missing, Table
from nudge.report.evidence import Evidence


def chapter(evidence: Evidence) -> Chapter:
    """Tell of the corpus: how many documents, of which kinds, in which split."""
    told, facts = evidence.documents, evidence.facts
    counts = {split: int((told["split"] == split).sum()) for split in style.SPLITS}
    return Chapter(
        "Data: what it is shown",
        "data",
        {"splits": _splits(evidence) if len(facts) else Missing("not drawn: the corpus states no arithmetic facts.")},
        {
            "documents": len(told),
            "counts": counts,
            "families": facts["family"].nunique(),
            "largest": int(facts[["left", "right"]].to_numpy().max()) if len(facts) else None,
            "samples": _samples(evidence),
        },
    )


def _samples(evidence: Evidence) -> list[str]:
    """Pick one document of each operation, from the middle, or of whatever there is."""
    told = evidence.facts if len(evidence.facts) else evidence.documents
    groups = [group for _, group in told.groupby("operation", sort=False)] if len(evidence.facts) else [told]
    return [str(group["text"].iloc[len(group) // 2]) for group in groups]


def _splits(evidence: Evidence) -> Figure:
    counted = evidence.facts.groupby(["operation", "split"]).size().rename("count").reset_index()
    share = counted["count"] / counted.groupby("operation")["count"].transform("sum")
    counted = counted.assign(share=share, rank=counted["split"].map(style.SPLITS.index))
    totals = counted.groupby("operation")["count"].sum()
    present = [operation for operation in OPERATIONS if operation in totals]
    chart = (
        alt.Chart(style.data(counted.to_dict("records")))
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y("operation:N", sort=present, title=None, axis=alt.Axis(labelFontSize=13, labelColor=style.INK)),
            x=alt.X("share:Q", title="share of the facts", axis=alt.Axis(format="%")),
            color=alt.Color("split:N", scale=style.splits(), title=None, legend=alt.Legend(columns=3)),
            order="rank:Q",
            tooltip=["operation:N", "split:N", alt.Tooltip("count:Q", format=",")],
        )
    )
    table = [
        [
            operation,
            *(
                int(counted[(counted.operation == operation) & (counted.split == split)]["count"].sum())
                for split in style.SPLITS
            ),
            int(totals[operation]),
        ]
        for operation in present
    ]
    said = "; ".join(f"{operation}: {totals[operation]:,} facts" for operation in present)
    return Figure(
        [Chart("splits", style.finish(chart, f"Share of facts in each split, by operation. {said}.", 170))],
        "In every operation about eight facts in ten are for training, one for choosing and one for the final test.",
        "Counted in the curated corpus; whole families of facts are dealt to the splits by a hash of their name.",
        table=Table(["operation", *style.SPLITS, "all"], table),
    )
