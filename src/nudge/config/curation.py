"""The keys of `data.curation`: which filters, in which order, and the settings of each."""

import re
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from nudge.config.section import Section


class LanguageFilter(Section):
    keep: str
    others: list[str] = Field(min_length=1)
    sure: float = Field(gt=0, le=1)


class QualityFilter(Section):
    words: list[int] = Field(min_length=2, max_length=2)
    mean_letters: list[float] = Field(min_length=2, max_length=2)
    most_odd: int = Field(ge=0)
    longest_word: int = Field(ge=1)
    least_spelled: float = Field(gt=0, le=1)
    most_stutters: int = Field(ge=0)
    most_of_one: float = Field(gt=0, le=1)


class RepetitionFilter(Section):
    ngram: int = Field(ge=2)
    documents: int = Field(ge=2)
    most_covered: float = Field(ge=0, lt=1)


class PersonalDataFilter(Section):
    patterns: dict[str, str]

    @model_validator(mode="after")
    def _patterns_compile(self) -> Self:
        for name, pattern in self.patterns.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"pattern '{name}' is no regular expression ({error})") from error
        return self


class AbuseFilter(Section):
    words: str


class NearDuplicatesFilter(Section):
    permutations: int = Field(ge=1)
    bands: int = Field(ge=1)
    similarity: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _bands_divide(self) -> Self:
        if self.permutations % self.bands:
            raise ValueError(f"permutations {self.permutations} do not divide among bands {self.bands}")
        return self


class FluencyFilter(Section):
    documents: int = Field(ge=1)
    most_rare: float = Field(ge=0, lt=1)


class ClassifierFilter(Section):
    examples: str
    inverse_regularization: float = Field(gt=0)
    sure: float = Field(gt=0, le=1)


class ConsistencyFilter(Section):
    lead: int = Field(ge=1)


class FilterSettings(TypedDict, total=False):
    """Settings of the filters that have some; a filter that is not applied needs none."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]

    language: LanguageFilter
    quality: QualityFilter
    repetition: RepetitionFilter
    personal_data: PersonalDataFilter
    abuse: AbuseFilter
    near_duplicates: NearDuplicatesFilter
    fluency: FluencyFilter
    classifier: ClassifierFilter
    consistency: ConsistencyFilter


class CurationConfig(Section):
    filters: list[
        Literal[
            "exact_duplicates",
            "language",
            "quality",
            "repetition",
            "personal_data",
            "abuse",
            "near_duplicates",
            "decontamination",
            "fluency",
            "classifier",
            "consistency",
            "held_out_steps",
        ]
    ]
    settings: FilterSettings

    @model_validator(mode="after")
    def _filters_are_settled(self) -> Self:
        for name in self.filters:
            if self.filters.count(name) > 1:
                raise ValueError(f"filter '{name}' stands in `filters` twice; each may once")
            if name in FilterSettings.__annotations__ and name not in self.settings:
                raise ValueError(f"filter '{name}' has no settings; give it some, or take it out of `filters`")
        return self
