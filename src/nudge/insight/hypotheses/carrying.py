"""What carries a difference between two questions: how far an answer goes over when states are put in.

Shape suffixes: N pairs of questions, P sets of places, V vocabulary.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nudge.insight.hypotheses import patching
from nudge.insight.hypotheses.pairs import Pairs, Row
from nudge.insight.hypotheses.patching import Place
from nudge.insight.questions import exact_match
from nudge.model.decoder import Decoder
from nudge.model.internals import trace

ENOUGH = 0.9  # of the effect, that a set of places must carry
MOST = 6  # places of a set; what needs more has no place of its own
LEAST = 0.01  # of the effect, that a place must add

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """How far answers went over, in logits, at the first token in which the two answers differ.

    Attributes:
        whole_N: by how much the base's answer stands higher above the other's in the base's run than in the other's.
        moved_PN: by how much of that it fell with each set of places.
    """

    whole_N: Floats
    moved_PN: Floats

    def shares(self) -> Floats:
        """Return the share that each set carries, [P]; of the sums, since a single difference can be near 0."""
        total = self.whole_N.sum()
        return self.moved_PN.sum(1) / total if abs(total) > 1e-9 else np.full(len(self.moved_PN), np.nan)


@torch.inference_mode()
def effect(model: Decoder, both: Pairs, sets: Sequence[Collection[Place]], sources: list[Row] | None = None) -> Effect:
    """Measure how far each set of places carries the answers over.

    Args:
        model: the network.
        both: N questions and others.
        sets: P sets of places.
        sources: whose states are put in; those of the others, if none are given.
    """
    base, other = both.forced(both.base, both.other), both.forced(both.other, both.other)
    at_N, own_N, target_N = both.differing()
    row_N = torch.arange(len(both))

    def above(logits_NTV: Tensor) -> Floats:
        at_NV = logits_NTV[row_N, at_N]
        return np.asarray((at_NV[row_N, own_N] - at_NV[row_N, target_N]).double().cpu().numpy())

    before_N = above(trace(model, base.tokens_BT).logits_BTV)
    there = trace(model, other.tokens_BT)
    source = there if sources is None else trace(model, both.forced(sources, both.other).tokens_BT)
    after_PN = np.stack([above(logits_NTV) for logits_NTV in patching.patched(model, base, source, sets)])
    return Effect(before_N - above(there.logits_BTV), before_N - after_PN)


@torch.inference_mode()
def become(model: Decoder, both: Pairs, chosen: Collection[Place], sources: list[Row], answers: list[Row]) -> Floats:
    """Say whose whole answer becomes that of another question when states are put in, [N] of 0 and 1.

    The states stay in while the answer is said; at the positions that say it they come from the source, continued with
    the same words.

    Args:
        model: the network.
        both: whose base is asked.
        chosen: the places.
        sources: whose states are put in.
        answers: the questions whose answers are waited for.
    """
    base = both.forced(both.base, answers)
    source = trace(model, both.forced(sources, answers).tokens_BT)
    logits_NTV = patching.patched(model, base, source, [chosen])[0]
    return exact_match(logits_NTV, base).double().cpu().numpy()


def smallest_set(model: Decoder, both: Pairs, sources: list[Row] | None = None) -> list[tuple[Place, float]]:
    """Add the head or MLP, at one role's word, that carries most beside those before, until `ENOUGH` is carried.

    It ends early when nothing adds `LEAST`. Greedy, so a smaller set may exist. The embeddings are never put in: with
    the operator's it would be the other question.

    Returns:
        the places, in the order in which they were added, with the share carried by then.
    """
    base = both.forced(both.base, both.other)
    places = [Place(site, *at) for site in patching.components(model) for at in patching.positions(base, "operator")]
    chosen: list[tuple[Place, float]] = []
    while len(chosen) < MOST:
        before = [place for place, _ in chosen]
        share_P = np.nan_to_num(effect(model, both, [[*before, place] for place in places], sources).shares())
        best = int(share_P.argmax())
        if chosen and share_P[best] < chosen[-1][1] + LEAST:
            break
        chosen.append((places[best], float(share_P[best])))
        if share_P[best] >= ENOUGH:
            break
    return chosen
