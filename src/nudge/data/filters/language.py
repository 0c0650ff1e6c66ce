"""Text in another language, found by py3langid: a model inside the package, over byte n-grams."""

from functools import cache
from typing import Any

from nudge.config.curation import LanguageFilter
from nudge.data import numbers
from nudge.data.filters.context import Context, Reasons, Row


def judge(rows: list[Row], settings: LanguageFilter, context: Context) -> Reasons:
    """Drop what is in another language than the kept one, as the identifier is sure enough."""
    identifier = _identifier((settings.keep, *settings.others))
    reasons: Reasons = []
    judged = cache(identifier.classify)
    for row in rows:
        # With one English number in the place of all: a tenth as many texts to judge.
        language, sure = judged(numbers.masked(row["text"], "seven"))
        foreign = language != settings.keep and sure >= settings.sure
        reasons.append(f"{language}, {sure:.2f}" if foreign else None)
    return reasons


@cache
def _identifier(languages: tuple[str, ...]) -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(languages))
    return identifier
