"""All that is looked at in one model to say how it holds numbers."""

from dataclasses import dataclass

from nudge.insight.hypotheses import held_numbers, probes
from nudge.insight.hypotheses.held_numbers import Held
from nudge.insight.hypotheses.probes import Probed
from nudge.insight.questions import Questions
from nudge.model.saved import Saved


@dataclass(frozen=True)
class Inside:
    """All that one model holds of numbers: words by class, and composed numbers by operand and place of the stream."""

    name: str
    words: dict[str, Held]
    composed: dict[str, dict[int, Held]]
    probed: dict[str, dict[int, Probed]]

    @staticmethod
    def of(name: str, saved: Saved, questions: Questions, seed: int) -> "Inside":
        """Look into a model."""
        states = held_numbers.composed(saved, questions)
        probed = {
            side: {place: probes.probe(held.vectors_NW, held.numbers_N, seed) for place, held in places.items()}
            for side, places in states.items()
        }
        return Inside(name, held_numbers.words(saved, questions), states, probed)
