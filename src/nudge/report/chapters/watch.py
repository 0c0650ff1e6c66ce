"""Chapter: the same sentence at every snapshot, under a slider."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from nudge.report import film, style
from nudge.report.chapter import Chapter, Chart, Figure, Missing
from nudge.report.chapters.blame import NONE_KEPT
from nudge.report.evidence import Evidence, words
from nudge.report.film import Frame, NumberMap

LONGEST = 24  # tokens of the example: a larger matrix of attention can't be read on a phone


def chapter(evidence: Evidence) -> Chapter:
    """Show prediction, surprise, attention and the map of number words as they change."""
    title, anchor = "Watch it learn", "watch"
    names = ("prediction", "surprise", "attention", "map")
    why = None
    if not evidence.snapshots:
        why = NONE_KEPT
    elif evidence.example is None:
        why = "not drawn: the corpus asks no questions."
    elif len(words(evidence.saved, evidence.example)) > LONGEST:
        why = "not drawn: the example sentence is too long to be read in a matrix."
    if why is not None or evidence.example is None:
        return Chapter(title, anchor, dict.fromkeys(names, Missing(why or "")), {"frames": []})
    row = evidence.facts[evidence.facts["text"] == evidence.example].iloc[0]
    said = words(evidence.saved, evidence.example)
    asks = 1 + len(evidence.saved.tokenizer.encode(str(row["prompt"]), add_special_tokens=False).ids)
    shown = film.frames(evidence.snapshots, evidence.example, asks)
    places = film.number_map(evidence.snapshots)
    return Chapter(
        title,
        anchor,
        {
            "prediction": _prediction(shown, str(row["prompt"])),
            "surprise": _surprise(shown, said),
            "attention": _attention(shown, said),
            "map": _map(places, shown) if places else Missing("not drawn: the vocabulary has no number words."),
        },
        {
            "example": evidence.example,
            "split": row["split"],
            "frames": [
                {
                    "step": frame.step,
                    "says": f"after {frame.step:,} steps it says “{frame.top[0][0]}” "
                    f"({frame.top[0][1]:.0%}); the right word has {frame.p_answer:.1%}",
                }
                for frame in shown
            ],
        },
    )


def _filmed(records: list[dict[str, Any]], flatten: Sequence[str], digits: int = 3) -> alt.Chart:
    """Return a chart of the frame that the slider chooses; a record holds a whole frame, in lists."""
    frame = alt.param(name="frame", value=0)
    return (
        alt.Chart(style.data(records, digits))
        .add_params(frame)
        .transform_filter("datum.frame === frame")
        .transform_flatten(list(flatten))
    )


def _prediction(shown: list[Frame], prompt: str) -> Figure:
    records = [
        {"frame": n, "word": [word for word, _ in frame.top], "p": [p for _, p in frame.top]}
        for n, frame in enumerate(shown)
    ]
    bars = (
        _filmed(records, ["word", "p"])
        .mark_bar()
        .encode(
            y=alt.Y(
                "word:N",
                sort=alt.SortField("p", order="descending"),
                title=None,
                axis=alt.Axis(labelFontSize=13, labelColor=style.INK, minExtent=72),
            ),
            x=alt.X("p:Q", scale=alt.Scale(domain=[0, 1]), title="probability", axis=alt.Axis(format="%")),
            tooltip=["word:N", alt.Tooltip("p:Q", format=".2%")],
        )
    )
    return Figure(
        [Chart("film-prediction", style.finish(bars, f"The five most probable words after “{prompt}”.", 190))],
        f"The five words that the model finds most probable after “{prompt}”.",
        "Softmax of its output at the last word of the question, with each snapshot's weights.",
    )


def _surprise(shown: list[Frame], said: list[str]) -> Figure:
    shown_words = style.labels(said[1:])
    records = [{"frame": n, "word": shown_words, "nats": frame.surprisal} for n, frame in enumerate(shown)]
    highest = max(max(frame.surprisal) for frame in shown)
    bars = (
        _filmed(records, ["word", "nats"])
        .mark_bar(color="var(--part-output)")
        .encode(
            x=alt.X("word:N", sort=None, title=None, axis=alt.Axis(labelAngle=-35, labelFontSize=12)),
            y=alt.Y("nats:Q", scale=alt.Scale(domain=[0, highest]), title="surprise, nats"),
            tooltip=["word:N", alt.Tooltip("nats:Q", format=".3f")],
        )
    )
    return Figure(
        [Chart("film-surprise", style.finish(bars, "Surprise at each word of the sentence.", 190))],
        "How surprised it is by each word of the sentence.",
        "−ln p of each word given those before it.",
    )


def _attention(shown: list[Frame], said: list[str]) -> Figure:
    labels = style.labels(said)
    layers, heads = shown[0].pattern_LHTT.shape[:2]
    pairs = [(row, column) for row in range(len(said)) for column in range(row + 1)]
    charts = []
    for layer in range(layers):
        for head in range(heads):
            records = [
                {
                    "frame": n,
                    "from": [labels[row] for row, _ in pairs],
                    "to": [labels[column] for _, column in pairs],
                    "weight": [round(float(frame.pattern_LHTT[layer, head, row, column]), 2) for row, column in pairs],
                }
                for n, frame in enumerate(shown)
            ]
            cells = (
                _filmed(records, ["from", "to", "weight"])
                .mark_rect(color=style.ACCENT, cornerRadius=2)
                .encode(
                    x=alt.X(
                        "to:N",
                        sort=labels,
                        scale=alt.Scale(domain=labels),
                        title=None,
                        axis=alt.Axis(labelAngle=-45, domain=False, ticks=False),
                    ),
                    y=alt.Y(
                        "from:N",
                        sort=labels,
                        scale=alt.Scale(domain=labels),
                        title=None,
                        axis=alt.Axis(domain=False, ticks=False),
                    ),
                    opacity=alt.Opacity("weight:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 1]), legend=None),
                    tooltip=["from:N", "to:N", alt.Tooltip("weight:Q", format=".2f")],
                )
            )
            name = f"layer {layer}, head {head}"
            says = f"Attention of {name}: rows are the words that look, columns those that are looked at."
            charts.append(Chart(f"film-attention-{layer}-{head}", style.finish(cells, says, 230), name))
    return Figure(
        charts,
        "Who looks at whom: each row is a word that looks, each column one that is looked at; the stronger the "
        "colour, the more.",
        "The attention weights of each head; each row sums to 1. A weight says where a head looks, not yet that the "
        "model needs it: the chapter on attention tests that.",
        narrow=250,
    )


def _map(places: NumberMap, shown: list[Frame]) -> Figure:
    kind = ["tens" if value >= 20 else "teens" if value >= 10 else "ones" for value in places.values]
    records = [
        {"frame": n, "word": places.words, "x": xy_N2[:, 0], "y": xy_N2[:, 1], "kind": kind}
        for n, xy_N2 in zip(range(len(shown)), places.xy_SN2, strict=True)
    ]
    low, high = places.xy_SN2.min((0, 1)) * 1.08, places.xy_SN2.max((0, 1)) * 1.08
    base = _filmed(records, ["word", "x", "y", "kind"]).encode(
        x=alt.X("x:Q", scale=alt.Scale(domain=[low[0], high[0]], nice=False), axis=None),
        y=alt.Y("y:Q", scale=alt.Scale(domain=[low[1], high[1]], nice=False), axis=None),
        color=alt.Color(
            "kind:N",
            sort=None,
            title=None,
            legend=alt.Legend(columns=3),
            scale=alt.Scale(domain=["ones", "teens", "tens"], range=style.SERIES[:3]),
        ),
        tooltip=["word:N"],
    )
    picture = base.mark_point(size=44, opacity=1) + base.mark_text(dx=6, align="left", fontSize=11).encode(
        text="word:N"
    )
    return Figure(
        [Chart("film-map", style.finish(picture, "Map of the number words' embeddings at one snapshot.", 380))],
        "Each number word is a point; words that the model treats alike come to lie near each other.",
        "Embeddings of all number words at all snapshots, projected onto the two directions in which they differ most "
        f"({places.explained:.0%} of the variance). The directions are the same at every snapshot: it is the words "
        "that move.",
    )
