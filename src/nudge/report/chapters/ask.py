"""Chapter: a reader picks two numbers and an operation, and sees what the model makes of it."""

import altair as alt

from nudge.report import all_facts, style
from nudge.report.all_facts import AllFacts
from nudge.report.chapter import Chapter, Chart, Figure, Missing
from nudge.report.evidence import Evidence

# By a field, since words that were there before keep their place when Vega gets other data.
IN_PLACE = alt.EncodingSortField("place", op="min", order="ascending")


def chapter(evidence: Evidence) -> Chapter:
    """Compute the answer to every fact, and put them into the page."""
    title, anchor = "Ask it", "ask"
    facts = evidence.answered
    if facts is None:
        missing = Missing("not drawn: the corpus states no arithmetic facts.")
        return Chapter(title, anchor, {"surprise": missing, "attention": missing}, {"packed": None})
    vocabulary = evidence.saved.tokenizer
    words = [str(vocabulary.id_to_token(number)) for number in range(vocabulary.get_vocab_size())]
    first = _first(evidence, facts)
    return Chapter(
        title,
        anchor,
        {"surprise": _surprise(facts, words, first), "attention": _attention(facts, words, first)},
        {
            "packed": all_facts.packed(facts, words),
            "count": len(facts.given),
            "first": facts.questions.rows[first],
            "right": int(facts.right_N.sum()),
        },
    )


def _first(evidence: Evidence, facts: AllFacts) -> int:
    """Return the fact that is shown before anybody picks one: the story's example."""
    return [row["text"] for row in facts.questions.rows].index(evidence.example)


def _sentence(facts: AllFacts, words: list[str], place: int) -> list[str]:
    length = int(facts.questions.length_B[place])
    return style.labels([words[number] for number in facts.questions.tokens_BT[place, :length].tolist()])


def _surprise(facts: AllFacts, words: list[str], place: int) -> Figure:
    said = _sentence(facts, words, place)[1:]
    records = [
        {"word": word, "place": at, "nats": float(facts.surprisal_NT[place, at])} for at, word in enumerate(said)
    ]
    bars = (
        alt.Chart(style.data(records, 3, name="picked_surprise"))
        .mark_bar(color="var(--part-output)")
        .encode(
            x=alt.X("word:N", sort=IN_PLACE, title=None, axis=alt.Axis(labelAngle=-35, labelFontSize=12)),
            y=alt.Y("nats:Q", title="surprise, nats"),
            tooltip=["word:N", alt.Tooltip("nats:Q", format=".2f")],
        )
    )
    return Figure(
        [Chart("ask-surprise", style.finish(bars, "Surprise at each word of the true sentence that was picked.", 200))],
        "How surprised the trained model is by each word of the true sentence.",
        "−ln p of each word given those before it, kept to 1/16 nat.",
    )


def _attention(facts: AllFacts, words: list[str], place: int) -> Figure:
    asks = int(facts.questions.prompt_B[place])
    said = _sentence(facts, words, place)[:asks]
    records = [
        {"head": head, "word": word, "place": column, "weight": float(facts.attention_NHT[place, row, column])}
        for row, head in enumerate(facts.heads)
        for column, word in enumerate(said)
    ]
    cells = (
        alt.Chart(style.data(records, 3, name="picked_attention"))
        .mark_rect(color=style.ACCENT, cornerRadius=2)
        .encode(
            x=alt.X("word:N", sort=IN_PLACE, title=None, axis=alt.Axis(labelAngle=-35, labelFontSize=12, domain=False)),
            y=alt.Y("head:N", sort=facts.heads, title=None, axis=alt.Axis(domain=False, ticks=False)),
            opacity=alt.Opacity("weight:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 1]), legend=None),
            tooltip=["head:N", "word:N", alt.Tooltip("weight:Q", format=".2f")],
        )
    )
    says = "Where each attention head looks from the last word of the question that was picked."
    return Figure(
        [Chart("ask-attention", style.finish(cells, says, 200))],
        "Where each head looks from the word after which the answer must come; the stronger the colour, the more.",
        "Attention weights at the last word of the question, kept to 1/255.",
    )
