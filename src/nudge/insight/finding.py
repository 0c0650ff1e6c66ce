"""What a test of a hypothesis gives: figures with intervals and controls, and a verdict that follows by a rule.

The rules and the thresholds stand in the code, the same for every model: a hypothesis is `supported` if every criterion
holds with its whole interval, `not supported` if any fails with its whole interval, `inconclusive` in between. Not all
thresholds are older than the first figures: `docs/insight.md` says which.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["supported", "not supported", "inconclusive"]


@dataclass(frozen=True)
class Figure:
    """A measured number.

    Attributes:
        name: what is measured, in a few words.
        value: the estimate.
        low, high: its 95 % interval; equal to `value` where nothing was sampled.
        n: on how many facts, pairs or numbers.
        unit: "" for a pure number, "share", "nats", "bits", "words", …
        role: what it is there for.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    unit: str
    role: Literal["measure", "intervention", "control"]


@dataclass(frozen=True)
class Criterion:
    """One condition of a verdict: a figure lies above (or below) a threshold, which is the same for every model."""

    says: str  # the condition as a sentence, with its threshold and why it is that
    figure: Figure
    threshold: float
    above: bool = True

    @property
    def verdict(self) -> Verdict:
        """Say whether the whole interval is on the right side, the whole on the wrong one, or neither.

        A figure that is no number, or is of nothing (n = 0), decides nothing.
        """
        figure = self.figure
        if figure.n == 0 or any(value != value for value in (figure.value, figure.low, figure.high)):
            return "inconclusive"
        low, high = (figure.low, figure.high) if self.above else (-figure.high, -figure.low)
        threshold = self.threshold if self.above else -self.threshold
        if low > threshold:
            return "supported"
        return "not supported" if high <= threshold else "inconclusive"


@dataclass(frozen=True)
class Finding:
    """One hypothesis about what the model learned, tested.

    Attributes:
        hypothesis: "attention patterns", "number representations", "operation semantics" or "output mapping".
        claim: the claim that is tested, one sentence.
        criteria: what decides; each rests on an intervention or on a control.
        figures: what else was measured, for the reader.
        details: tables for the report's charts, plain values only.
        caveat: what this does not show, one sentence.
    """

    hypothesis: str
    claim: str
    criteria: list[Criterion]
    figures: list[Figure]
    caveat: str
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """Combine the criteria: one that fails decides, else one that is unclear leaves it open."""
        verdicts = {criterion.verdict for criterion in self.criteria}
        if "not supported" in verdicts:
            return "not supported"
        return "inconclusive" if "inconclusive" in verdicts else "supported"
