"""Hypothesis: plus and minus do different things: a state inside says which of the two is to be done.

A question "a plus b equals" is run with what other questions had computed at some places:

- of "a minus b": if the places carry all that differs, the answer becomes a − b. They may carry the operation, or the
  finished answer;
- of "c minus d": only if they carry the operation, and nothing of the operands or of the answer, it becomes a − b;
- of "c plus d" (control): it must not become a − b.

Activation patching (Vig et al. 2020, arXiv:2004.12265; Zhang and Nanda 2024, arXiv:2309.16042).
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nudge.insight.finding import Criterion, Figure, Finding
from nudge.insight.hypotheses import pairs, patching
from nudge.insight.hypotheses.asking import Asking
from nudge.insight.hypotheses.carrying import become, effect, smallest_set
from nudge.insight.hypotheses.pairs import Other, Pairs, Row
from nudge.insight.hypotheses.patching import ANSWERING, Place
from nudge.insight.questions import Questions
from nudge.insight.resampling import Resampling, of_samples
from nudge.model.decoder import Decoder
from nudge.model.saved import Saved

PAIRS = 400  # of plus and minus: the interval of a share is then ±5 points
SEARCHED = 100  # of these, on which the places are found; they are scored on the others
MAPPED = 100  # pairs of a map
HALF = 0.5

Floats = NDArray[np.float64]


@torch.inference_mode()
def test(learned: Saved, untrained: Saved, questions: Questions, seed: int) -> Finding:
    """Test the hypothesis on a model.

    Args:
        learned: the model.
        untrained: the weights that it began with, shown beside.
        questions: facts that the model was not trained on: the first of each pair; the other may be any fact.
        seed: of the pairs, the controls and the bootstrap.
    """
    both, elsewhere = _swapped(learned, questions, PAIRS, seed)
    first, rest = slice(SEARCHED), slice(SEARCHED, None)
    scored = both.where(rest)
    if not len(scored):
        nothing = Figure("answers that go over", np.nan, np.nan, np.nan, 0, "share", "intervention")
        return _finding([nothing] * 3, [], {"sets": [], "map": []})
    model, trials = learned.model, _Trials(learned.model, scored, elsewhere[rest], questions, seed)
    sets = {
        "difference": smallest_set(model, both.where(first)),
        "operation": smallest_set(model, both.where(first), elsewhere[first]),
    }
    difference, operation = ([place for place, _ in found] for found in sets.values())
    over, over_by_chance = trials.over(difference), trials.over_by_chance(difference)
    blank = _Trials(untrained.model, scored, elsewhere[rest], questions, seed)
    deciding = [
        trials.figure("answers that become a − b, from a minus b", over, "intervention"),
        trials.figure("more of them than from c plus d", over - over_by_chance, "control"),
        trials.figure("answers that become a − b, from c minus d", trials.over_alone(operation), "intervention"),
    ]
    figures = [
        trials.share("share of the logit difference carried, from a minus b", difference, None),
        trials.share("share of the logit difference carried, from c minus d", operation, elsewhere[rest]),
        trials.figure(
            "answers that become c − d, from c minus d: the answer went over", trials.taken(difference), "measure"
        ),
        trials.figure("answers that become a − b, from c plus d", over_by_chance, "control"),
        trials.figure("answers that stay, from c plus d with the same answer", *trials.kept(difference), "control"),
        trials.figure("answers that become a − b with untrained weights", blank.over(difference), "control"),
    ]
    details = {
        "sets": [
            {"carries": name, "place": str(place), "share": share}
            for name, found in sets.items()
            for place, share in found
        ],
        "map": _maps(learned, questions, seed),
    }
    return _finding(deciding, [figure for figure in figures if figure.n], details)


@torch.inference_mode()
def carried_over(learned: Saved, questions: Questions, seed: int) -> float:
    """Return the share of answers that become the other operation's when the first layer's attention is put in.

    For a curve over training: at the positions that say the answer, which needs no search. NaN without pairs.
    """
    both, _ = _swapped(learned, questions, SEARCHED, seed)
    if not len(both):
        return float("nan")
    return float(become(learned.model, both, [Place("attention.0", ANSWERING)], both.other, both.other).mean())


class _Trials:
    """What becomes of the answers of scored pairs; what is put in comes from here or there."""

    def __init__(self, model: Decoder, scored: Pairs, elsewhere: list[Row], questions: Questions, seed: int) -> None:
        asking, upto = Asking(questions), _greatest(questions)
        self.model, self.scored, self.elsewhere = model, scored, elsewhere
        self.resampling = Resampling(Questions.of(scored.tokenizer, scored.base), seed)
        self.random = pairs.beside(scored.base, pairs.other_operands(asking, upto, seed), seed)
        self.same = pairs.beside(scored.base, pairs.same_answer(asking, upto), seed)

    def over(self, chosen: Collection[Place]) -> Floats:
        """From a minus b to a − b."""
        return become(self.model, self.scored, chosen, self.scored.other, self.scored.other)

    def over_alone(self, chosen: Collection[Place]) -> Floats:
        """From c minus d to a − b."""
        return become(self.model, self.scored, chosen, self.elsewhere, self.scored.other)

    def taken(self, chosen: Collection[Place]) -> Floats:
        """From c minus d to c − d."""
        return become(self.model, self.scored, chosen, self.elsewhere, self.elsewhere)

    def over_by_chance(self, chosen: Collection[Place]) -> Floats:
        """From c plus d to a − b; where no c and d fit, the base itself stands in, which changes nothing."""
        sources = [other or row for other, row in zip(self.random, self.scored.base, strict=True)]
        return become(self.model, self.scored, chosen, sources, self.scored.other)

    def kept(self, chosen: Collection[Place]) -> tuple[Floats, NDArray[np.bool_]]:
        """From c plus d = a + b to a + b; and which pairs have such c and d."""
        sources = [other or row for other, row in zip(self.same, self.scored.base, strict=True)]
        kept_N = become(self.model, self.scored, chosen, sources, self.scored.base)
        return kept_N, np.array([other is not None for other in self.same])

    def figure(self, name: str, values_N: Floats, *rest: Any) -> Figure:
        """Return a share of the pairs, or of `rest[0]` of them, in the role `rest[-1]`."""
        among_N = rest[0] if len(rest) == 2 else None
        return self.resampling.figure(name, values_N, rest[-1], among_B=among_N)

    def share(self, name: str, chosen: list[Place], sources: list[Row] | None) -> Figure:
        """Return the share of the logit difference that a set of places carries."""
        found = effect(self.model, self.scored, [chosen], sources)
        sums_RK = self.resampling.means(np.stack([found.moved_PN[0], found.whole_N], axis=1))
        share_R = sums_RK[:, 0] / sums_RK[:, 1]
        return of_samples(name, float(found.shares()[0]), share_R, len(self.scored), "share", "intervention")


def _finding(deciding: list[Figure], figures: list[Figure], details: dict[str, Any]) -> Finding:
    says = [
        (
            "With what a minus b had computed at the fewest heads and MLPs that carry 0.9 of the difference on other "
            "pairs, more than half of the answers become a − b: then it is these places, more often than not.",
            HALF,
        ),
        ("That is more often than with what c plus d had computed there, which does it by chance.", 0.0),
        (
            "With what c minus d had computed at the places that carry most of the operation, more than half become "
            "a − b: else what was put in is the finished answer, which says nothing about operations.",
            HALF,
        ),
    ]
    return Finding(
        "operation semantics",
        "A state inside the model says whether to add or to subtract, whatever the operands.",
        [Criterion(sentence, figure, limit) for (sentence, limit), figure in zip(says, deciding, strict=True)],
        figures,
        "The places were searched one by one among heads and MLPs; others, or parts of these, may carry more.",
        details,
    )


def _swapped(saved: Saved, questions: Questions, count: int, seed: int) -> tuple[Pairs, list[Row]]:
    """Draw pairs of plus and minus with the same operands, and for each a question of the other with other operands."""
    asking = Asking(questions)
    rows = [row for row in questions.rows if row["operation"] in ("plus", "minus")]
    both = pairs.drawn(saved.tokenizer, rows, pairs.instead(asking, "plus", "minus"), count, seed)
    beside = pairs.beside(both.other, pairs.other_operands(asking, _greatest(questions), seed), seed)
    kept = both.chosen([place for place, row in enumerate(beside) if row is not None])
    return kept, [row for row in beside if row is not None]


def _greatest(questions: Questions) -> int:
    return int(max(questions.column("left").max(), questions.column("right").max()))


def _maps(saved: Saved, questions: Questions, seed: int) -> list[dict[str, Any]]:
    """Return the share carried by each single place, for four things in which two questions can differ.

    Returns:
        rows `{"swap", "site", "position", "share", "pairs"}`; the embeddings and the whole stream among the sites.
    """
    asking, upto = Asking(questions), _greatest(questions)
    swaps: dict[str, tuple[tuple[str, ...], Other, str]] = {
        "plus and minus": (("plus", "minus"), pairs.instead(asking, "plus", "minus"), "operator"),
        "plus and times": (("plus", "times"), pairs.instead(asking, "plus", "times"), "operator"),
        "left operand": (("plus", "minus"), pairs.operand(asking, "left", upto), "left"),
        "right operand": (("plus", "minus"), pairs.operand(asking, "right", upto), "right"),
    }
    rows = []
    for name, (operations, other, first) in swaps.items():
        asked = [row for row in questions.rows if row["operation"] in operations]
        both = pairs.drawn(saved.tokenizer, asked, other, MAPPED, seed)
        if not len(both):
            continue
        positions = patching.positions(both.forced(both.base, both.other), first)
        places = [Place(site, *at) for site in patching.sites(saved.model) for at in positions]
        shares = effect(saved.model, both, [[place] for place in places]).shares().tolist()
        rows += [
            {"swap": name, "site": place.site, "position": place.where, "share": share, "pairs": len(both)}
            for place, share in zip(places, shares, strict=True)
        ]
    return rows
