"""Chapter: how a sentence becomes numbers."""

from collections import Counter

import altair as alt

from nudge.data.tokenizer import SPECIAL
from nudge.report import style
from nudge.report.chapter import Chapter, Chart, Figure
from nudge.report.evidence import Evidence

SHOWN = 40  # words; more can't be read on one axis


def chapter(evidence: Evidence) -> Chapter:
    """Tell of the vocabulary, and show one sentence in tokens."""
    model = evidence.saved
    vocabulary = model.tokenizer.get_vocab()
    encoded = model.tokenizer.encode(evidence.example or str(evidence.documents["text"].iloc[0]))
    return Chapter(
        "Tokens: words become numbers",
        "tokens",
        {"frequency": _frequency(evidence)},
        {
            "vocabulary": len(vocabulary),
            "words": len(vocabulary) - len(SPECIAL),
            "example": list(zip(encoded.tokens, encoded.ids, strict=True)),
            "width": model.model.config.width,
        },
    )


def _frequency(evidence: Evidence) -> Figure:
    train = evidence.documents[evidence.documents["split"] == "train"]["text"]
    counts: Counter[str] = Counter()
    for encoding in evidence.saved.tokenizer.encode_batch(train.tolist(), add_special_tokens=False):
        counts.update(encoding.tokens)
    common = counts.most_common(SHOWN)
    chart = (
        alt.Chart(style.data([{"word": word, "count": count} for word, count in common]))
        .mark_circle(size=60, opacity=1)
        .encode(
            x=alt.X("word:N", sort=None, title=None, axis=alt.Axis(labelAngle=-60, labelOverlap=True)),
            y=alt.Y("count:Q", scale=alt.Scale(type="log"), title="times in training", axis=alt.Axis(format="~s")),
            tooltip=["word:N", alt.Tooltip("count:Q", format=",")],
        )
    )
    most, least = common[0], common[-1]
    says = f"Words by frequency, from “{most[0]}” ({most[1]:,} times) to “{least[0]}” ({least[1]:,} times)."
    return Figure(
        [Chart("frequency", style.finish(chart, says, 230))],
        f"Some words are read far more often: “{most[0]}” {most[1]:,} times, “{least[0]}” {least[1]:,} times.",
        "Counted over one reading of the training split; the axis is logarithmic.",
    )
