"""Chapter: the kinds of text that a language model is made from, what is wrong with them, and what curation finds."""

from typing import Any

import altair as alt
import pandas as pd

from nudge.report import style
from nudge.report.chain import NOT_THERE
from nudge.report.chapter import Chapter, Chart, Figure, Missing, Table
from nudge.report.chapters import filters, worth
from nudge.report.evidence import MIXTURE, Evidence

KINDS = {  # what is planted, and what the document "How LLMs are trained" calls it
    "exact_duplicates": "the same text again",
    "near_duplicates": "the same text with small changes",
    "wrong_facts": "misinformation: a false sum",
    "contradictions": "two texts that cannot both be true",
    "spam": "advertisements",
    "boilerplate": "menus, footers, notices",
    "mangled": "text that a machine has spoiled",
    "other_language": "another language",
    "personal_data": "made-up names, addresses, phone numbers and keys",
    "abusive": "abuse (mild stand-in words)",
    "leaked_test_facts": "questions of the test, in training",
    "canaries": "secrets, written once or often",
}


def chapter(evidence: Evidence) -> Chapter:
    """Show a fact in each kind of text, what was planted, what filters dropped, and what training made of it."""
    chain = evidence.chain
    texts, found = chain.texts, chain.curation
    return Chapter(
        "Sources: kinds of text, and what is wrong with them",
        "sources",
        {
            "documents": _documents(evidence),
            "recall": filters.recall(evidence),
            "dropped": filters.dropped(evidence),
            "held_out": _held_out(evidence),
            "study": worth.worth(evidence),
        },
        {
            "documents": None if texts is None else len(texts),
            "examples": [] if texts is None else _examples(texts),
            "planted": [] if found is None else filters.planted(found, KINDS),
            "filters": [] if found is None else filters.examples(found),
            "found": found,
        },
        made_by=[name for name in (MIXTURE, "base", worth.NAME) if name in evidence.made],
        part="The assistant: from raw text to preferences",
    )


def _examples(texts: pd.DataFrame) -> list[tuple[str, str]]:
    """Return a text of each source: one fact as those say it that state it, and of the others another of its kind."""
    facts = texts[texts["operation"].notna() & (texts["split"] == "train")]
    if not len(facts):
        return [(str(name), str(rows["text"].iloc[0])) for name, rows in texts.groupby("source")]
    key = ["operation", "left", "right"]
    apart = facts[facts["left"] != facts["right"]] if (facts["left"] != facts["right"]).any() else facts
    sources = apart.groupby(key)["source"].nunique()
    # Of equals the one with the largest numbers, which look least like a formula.
    chosen = sources[sources == sources.max()].reset_index().sort_values(["left", "right"]).iloc[-1]
    same = facts[(facts[key] == chosen[key]).all(axis=1)]
    others = facts[(facts["operation"] == chosen["operation"]) & ~facts["source"].isin(set(same["source"]))]
    return [(str(name), str(rows["text"].iloc[-1])) for some in (same, others) for name, rows in some.groupby("source")]


def _documents(evidence: Evidence) -> Figure | Missing:
    """Draw how much of each source there is, and how much of it the base model saw."""
    texts = evidence.chain.texts
    if texts is None:
        return Missing(NOT_THERE.format("curate-mixture"))
    train = texts[texts["split"] == "train"]
    tokens = train["text"].str.count(" ") + 3  # words, begin and end
    counted = pd.DataFrame(
        {"documents": train.groupby("source").size(), "tokens": tokens.groupby(train["source"]).sum()}
    )
    seen = evidence.chain.validation.get("base")
    last = (
        None if seen is None else seen.dropna(subset=[name for name in seen if str(name).startswith("data/")]).iloc[-1]
    )
    rows: list[list[Any]] = []
    for name, row in counted.iterrows():
        of_run = [
            None if last is None or (key := f"data/{what}/{name}") not in last else kind(last[key])
            for what, kind in (("documents", int), ("tokens", int), ("repeats", float))
        ]
        rows.append([str(name), int(row["documents"]), int(row["tokens"]), *of_run])
    names = list(counted.index)
    bars = (
        alt.Chart(style.data([{"source": row[0], "documents": row[1], "tokens": row[2]} for row in rows]))
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y("source:N", sort=names, title=None, axis=alt.Axis(labelFontSize=13, labelColor=style.INK)),
            x=alt.X("tokens:Q", title="tokens for training", axis=alt.Axis(format="~s")),
            color=alt.Color("source:N", scale=style.sources(names), legend=None),
            tooltip=["source:N", alt.Tooltip("documents:Q", format=","), alt.Tooltip("tokens:Q", format=",")],
        )
    )
    said = ", ".join(f"{row[0]} {row[1]:,}" for row in rows)
    repeats = [row[5] for row in rows if row[5] is not None]
    also = f" The base model read each of them {_range(repeats)} times." if repeats else ""
    columns = ["source", "documents", "tokens", "documents seen", "tokens seen", "times through"]
    return Figure(
        [Chart("sources", style.finish(bars, f"Tokens of each source. Documents: {said}.", 190))],
        f"Documents left for training after curation: {said}.{also}",
        "Counted in the curated mixture, beginning and end of a text among its tokens; what the run saw of each source "
        "is in its record as data/tokens/SOURCE and data/repeats/SOURCE.",
        made_by=MIXTURE,
        table=Table(columns, rows),
    )


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"


def _held_out(evidence: Evidence) -> Figure | Missing:
    """Draw the loss of each source over training and what is answered exactly in each at the end."""
    chain = evidence.chain
    curve = chain.validation.get("base")
    names = [] if curve is None else [str(c).removeprefix("val/loss/") for c in curve if str(c).startswith("val/loss/")]
    if curve is None or not names:
        return Missing(NOT_THERE.format("base"))
    # Without the start: beside an even guess among all words the kinds would lie on each other.
    rows = [
        {"at": step, "loss": loss, "source": name}
        for name in names
        for step, loss in zip(curve["step"], curve[f"val/loss/{name}"], strict=True)
        if step
    ]
    lines = (
        alt.Chart(style.data(rows))
        .mark_line(point={"size": 16})
        .encode(
            x=alt.X(
                "at:Q", title="optimiser steps", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(format="~s")
            ),
            y=alt.Y("loss:Q", title="surprise, nats a token", scale=alt.Scale(zero=False)),
            color=alt.Color("source:N", title=None, scale=style.sources(names), legend=alt.Legend(columns=3)),
            tooltip=["source:N", alt.Tooltip("at:Q", title="step", format=",.0f"), alt.Tooltip("loss:Q", format=".3f")],
        )
    )
    charts = [Chart("source-loss", style.finish(lines, "Held-out surprise by source, against steps.", 240), "Surprise")]
    test = (chain.test("base") or {}).get("by_source", {})
    table = None
    says = "Each kind of text is learned at its own pace."
    if test:
        scored = [{"source": name, "share": one["exact_match"], "count": one["count"]} for name, one in test.items()]
        bars = (
            alt.Chart(style.data(scored))
            .mark_bar(height={"band": 0.7})
            .encode(
                y=alt.Y("source:N", sort=names, title=None, axis=alt.Axis(labelFontSize=12, labelColor=style.INK)),
                x=alt.X("share:Q", title="answered exactly", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
                color=alt.Color("source:N", scale=style.sources(names), legend=None),
                tooltip=["source:N", alt.Tooltip("share:Q", format=".1%"), "count:Q"],
            )
        )
        ends = ", ".join(f"{one['source']} {one['share']:.0%}" for one in scored if one["share"] is not None)
        says = f"Each kind of text is learned at its own pace. Of facts in test families it completes exactly: {ends}."
        charts.append(
            Chart("source-exact", style.finish(bars, f"Facts completed exactly: {ends}.", 240), "Right answers")
        )
        table = Table(
            ["source", "documents", "surprise", "answered exactly", "questions"],
            [[name, one["documents"], one["loss"], one["exact_match"], one["count"]] for name, one in test.items()],
        )
    return Figure(
        charts,
        says,
        "Validation documents over training; test documents, of fact families that no training text of any kind "
        "states, at its end. A question is a document up to its answer, in its own kind of text.",
        made_by="base",
        table=table,
    )
