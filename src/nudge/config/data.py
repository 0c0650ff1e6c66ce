"""The keys of `data`: sources of documents, what is planted and held out, and what becomes of them."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from nudge.config.curation import CurationConfig
from nudge.config.section import Section
from nudge.config.text import OnBadFile, TextSource, complaint


class Source(Section):
    """What all sources of documents have."""

    deduplicate: bool


class FactsSource(Source):
    """Arithmetic facts in number words."""

    kind: Literal["facts"]
    phrasings: str
    max_operand: int = Field(ge=1, le=99)
    answers: Literal["right", "shuffled"]


class ModularSource(Source):
    """Sums modulo a number, in digits: one token a number."""

    kind: Literal["modular"]
    modulus: int = Field(ge=2, le=999)


Word = Annotated[str, Field(pattern=r"^\S+$")]


class Canaries(Section):
    """Sentences with a random secret, to see which of them a model learns by heart."""

    names: list[Word] = Field(min_length=1)
    repeats: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    words: list[Word] = Field(min_length=2)
    length: int = Field(ge=1)

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for key, values in (("names", self.names), ("words", self.words)):
            if twice := [value for value in values if values.count(value) > 1]:
                raise ValueError(f"{key} holds '{twice[0]}' twice; each must be another")
        return self


class CanariesSource(Source, Canaries):
    """Canaries as a source of their own."""

    kind: Literal["canaries"]


class ChatSource(Source):
    """Questions and answers in chat form, some of them to be refused."""

    kind: Literal["chat"]
    file: str
    max_operand: int = Field(ge=1, le=99)
    per_fact: float = Field(gt=0)
    refusals: int = Field(ge=0)


class RegisterSource(Source):
    """Arithmetic facts as one kind of text says them: a template grammar that people wrote."""

    kind: Literal["register"]
    grammar: str
    max_operand: int = Field(ge=1, le=99)
    share: float = Field(gt=0, le=1)
    sayings: int = Field(ge=0)


class WorkedSource(Source):
    """Arithmetic facts with the steps that lead to their answers."""

    kind: Literal["worked"]
    file: str
    max_operand: int = Field(ge=1, le=99)
    operations: list[Literal["plus", "minus", "times", "divided by"]] = Field(min_length=1)
    style: Literal["down", "up", "multiples"]


class PracticeSource(Source):
    """Running sums and differences, as steps make them, of numbers that are no product's."""

    kind: Literal["practice"]
    file: str
    max_operand: int = Field(ge=1, le=99)
    of: Literal["adding", "sharing", "comparing"]
    share: float = Field(gt=0, le=1)


Numbers = Annotated[int, Field(ge=0)] | list[Annotated[int, Field(ge=0)]]


class HoldOutConfig(Section):
    orders: float = Field(ge=0, le=1)
    operands: Numbers
    answers: Numbers


Rate = Annotated[float, Field(ge=0, lt=1)]


class ProblemsConfig(Section):
    """What is planted among the training documents of registers: a share of the clean ones of each kind."""

    file: str
    exact_duplicates: Rate
    near_duplicates: Rate
    wrong_facts: Rate
    contradictions: Rate
    spam: Rate
    boilerplate: Rate
    mangled: Rate
    other_language: Rate
    personal_data: Rate
    abusive: Rate
    leaked_test_facts: Rate
    canaries: Canaries | None


class MixtureConfig(Section):
    tokens: int = Field(ge=1)
    weights: dict[str, Annotated[float, Field(gt=0)]] | None
    temperature: float = Field(gt=0)
    max_repeats: int = Field(ge=1)


AnySource = Annotated[
    FactsSource
    | ModularSource
    | CanariesSource
    | ChatSource
    | RegisterSource
    | WorkedSource
    | PracticeSource
    | TextSource,
    Field(discriminator="kind"),
]


class DataConfig(Section):
    path: str
    seed: int = Field(ge=0)
    sources: dict[str, AnySource] = Field(min_length=1)
    validation_fraction: float = Field(gt=0, lt=1)
    test_fraction: float = Field(gt=0, lt=1)
    hold_out: HoldOutConfig
    problems: ProblemsConfig | None
    curation: CurationConfig
    mixture: MixtureConfig | None
    steps: Literal["none", "worked"] | None = None  # of corpora that can have worked documents; others have no such key
    on_bad_file: OnBadFile | None = None  # of sources of kind text; others have no such key

    @property
    def is_text(self) -> bool:
        """Say whether the documents are text that people brought."""
        return any(isinstance(source, TextSource) for source in self.sources.values())

    @model_validator(mode="after")
    def _steps_are_taken_out(self) -> Self:
        """Leave worked documents and practice out of a corpus without steps, and their weights out of its mixture."""
        if self.steps == "none":
            for name in [name for name, source in self.sources.items() if source.kind in ("worked", "practice")]:
                del self.sources[name]
                if self.mixture is not None and self.mixture.weights is not None:
                    self.mixture.weights.pop(name, None)
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = write(self)
        for key in ("steps", "on_bad_file"):
            if content[key] is None:
                del content[key]
        return content

    @model_validator(mode="after")
    def _text_fits(self) -> "DataConfig":
        if wrong := complaint(self.sources, self):
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _training_is_left(self) -> "DataConfig":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction + test_fraction leave nothing to train on; their sum must be below 1")
        return self
