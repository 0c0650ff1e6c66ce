"""Where documents come from: one module a kind of source; a new kind is a module and a line here."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nudge.config.data import DataConfig
from nudge.data.sources import canaries, chat, facts, modular, practice, register, worked
from nudge.data.truth import ARITHMETIC, Truth

Row = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of source.

    Attributes:
        documents: (settings of all data, name of the source, folder of what people wrote) → rows of documents.
        truth: (settings of all data, name of the source) → what its facts must say; None: nobody vouches for them.
        always_trained_on: whether all its documents belong to the training split.
        families_only: whether documents without a family do.
    """

    documents: Callable[[DataConfig, str, Path], Iterator[Row]]
    truth: Callable[[DataConfig, str], Truth | None] = lambda data, name: ARITHMETIC
    always_trained_on: bool = False
    families_only: bool = False


KINDS: dict[str, Kind] = {
    "facts": Kind(facts.documents, facts.truth),
    "modular": Kind(modular.documents, modular.truth),
    "chat": Kind(chat.documents, chat.truth),
    "canaries": Kind(canaries.documents, always_trained_on=True),
    "register": Kind(register.documents, lambda data, name: None, families_only=True),
    "worked": Kind(worked.documents, lambda data, name: worked.TRUTH),
    "practice": Kind(practice.documents, always_trained_on=True),
}
