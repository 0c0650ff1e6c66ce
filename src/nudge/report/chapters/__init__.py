"""The chapters, in the order in which they are told. A later stage adds its own here."""

from collections.abc import Callable, Sequence

from nudge.report.chapter import Chapter
from nudge.report.chapters import (
    ask,
    assistant,
    attention,
    blame,
    data,
    errors,
    guesses,
    learned,
    memory,
    nudging,
    numbers,
    operations,
    output,
    overoptimisation,
    preferences,
    question,
    scaling,
    sources,
    steps,
    surprise,
    times,
    tokens,
    watch,
)
from nudge.report.evidence import Evidence

CHAPTERS: Sequence[Callable[[Evidence], Chapter]] = (
    data.chapter,
    tokens.chapter,
    guesses.chapter,
    surprise.chapter,
    blame.chapter,
    nudging.chapter,
    watch.chapter,
    ask.chapter,
    learned.chapter,
    attention.chapter,
    numbers.chapter,
    operations.chapter,
    output.chapter,
    times.chapter,
    memory.chapter,
    errors.chapter,
    steps.chapter,
    sources.chapter,
    assistant.chapter,
    preferences.chapter,
    question.chapter,
    overoptimisation.chapter,
    scaling.chapter,
)
