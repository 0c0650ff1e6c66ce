"""What a model still answers without the directions of its states that carry the order of numbers.

Shape suffixes: B questions, T positions, N numbers, V vocabulary, W width, C control subspaces, R bootstrap samples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nudge.evaluation import intervals
from nudge.insight.finding import Figure
from nudge.insight.hypotheses import removal
from nudge.insight.hypotheses.held_numbers import OPERANDS, Held, last_word
from nudge.insight.questions import Questions, exact_match
from nudge.insight.resampling import Resampling, Role, of_samples
from nudge.model.internals import Edit, trace
from nudge.model.saved import Saved

Floats = NDArray[np.float64]
Erase = Callable[[Questions], Mapping[str, Edit]]  # for a batch: the edits that take a subspace out


@dataclass(frozen=True)
class Removed:
    """Which questions a model still answers without a subspace, [B], and without each of its controls, [C, B]."""

    what: str
    share: float  # of the states' variance
    right_B: NDArray[np.bool_]
    control_CB: NDArray[np.bool_]


@torch.inference_mode()
def right(saved: Saved, questions: Questions, erase: Erase) -> NDArray[np.bool_]:
    right = [
        exact_match(trace(saved.model, batch.tokens_BT, erase(batch)).logits_BTV, batch)
        for batch in questions.batches()
    ]
    return torch.cat(right).cpu().numpy()


def without_helix(
    saved: Saved, questions: Questions, composed: Mapping[str, Mapping[int, Held]], place: int, controls: int, seed: int
) -> Removed:
    """Take the helix of both operands out of the stream at their last words."""
    held = {side: composed[side][place] for side in OPERANDS}
    directions = {side: removal.carrying(one.vectors_NW, removal.helix(one.numbers_N)) for side, one in held.items()}
    generator = np.random.default_rng(seed)
    drawn = {
        side: removal.at_random(one.vectors_NW, directions[side], controls, generator) for side, one in held.items()
    }

    def erase(directions: Mapping[str, Floats]) -> Erase:
        kept = {side: _keep(held[side].vectors_NW, one_WK) for side, one_WK in directions.items()}

        def edits(batch: Questions) -> Mapping[str, Edit]:
            def edit(stream_BTW: Tensor) -> Tensor:
                changed_BTW, row_B = stream_BTW.clone(), torch.arange(len(batch))
                for side, without in kept.items():
                    at_B = last_word(batch, side)
                    changed_BTW[row_B, at_B] = without(stream_BTW[row_B, at_B])
                return changed_BTW

            return {f"stream.{place}": edit}

        return edits

    others = [erase({side: drawn[side][number] for side in OPERANDS}) for number in range(controls)]
    return Removed(
        f"helix at stream.{place}",
        float(np.mean([removal.share(held[side].vectors_NW, directions[side]) for side in OPERANDS])),
        right(saved, questions, erase(directions)),
        np.stack([right(saved, questions, other) for other in others]),
    )


def without_lines(saved: Saved, questions: Questions, words: Mapping[str, Held], controls: int, seed: int) -> Removed:
    """Take the line of each class of words out of the embeddings of the operands' words."""
    generator = np.random.default_rng(seed)
    lines = {name: removal.carrying(held.vectors_NW, removal.line(held.numbers_N)) for name, held in words.items()}
    drawn = {name: removal.at_random(held.vectors_NW, lines[name], controls, generator) for name, held in words.items()}
    embeddings_VW = saved.model.model.embed_tokens.weight.detach()

    def erase(directions: Mapping[str, Floats]) -> Erase:
        changed_VW = embeddings_VW.clone()
        for name, held in words.items():
            changed_VW[held.ids_N] = _keep(held.vectors_NW, directions[name])(embeddings_VW[held.ids_N])

        def edits(batch: Questions) -> Mapping[str, Edit]:
            operand_BT1 = (batch.has("left") | batch.has("right"))[..., None]
            return {"stream.0": lambda stream_BTW: torch.where(operand_BT1, changed_VW[batch.tokens_BT], stream_BTW)}

        return edits

    others = [erase({name: drawn[name][number] for name in lines}) for number in range(controls)]
    shares = [removal.share(held.vectors_NW, lines[name]) for name, held in words.items()]
    return Removed(
        "lines of the words",
        float(np.mean(shares)),
        right(saved, questions, erase(lines)),
        np.stack([right(saved, questions, other) for other in others]),
    )


def _keep(vectors_NW: Floats, directions_WK: Floats) -> Callable[[Tensor], Tensor]:
    """Return what takes a subspace out of states: they keep its mean over the numbers, and vary no more within it."""
    mean_W = torch.from_numpy(vectors_NW.mean(0)).float()
    out_WW = torch.from_numpy(directions_WK @ directions_WK.T).float()
    return lambda states_BW: states_BW - (states_BW - mean_W) @ out_WW


class Falls:
    """How much exact match falls, with intervals over the questions and over the control subspaces drawn.

    Args:
        questions: what was asked.
        intact_B: which of them the whole model answers.
        seed: of the bootstrap.
    """

    def __init__(self, questions: Questions, intact_B: NDArray[np.bool_], seed: int) -> None:
        self.resampling = Resampling(questions, seed)
        self.intact_B = intact_B.astype(np.float64)
        self.seed = seed

    def fall(self, removed: Removed) -> Figure:
        """Return the fall without a subspace."""
        name = f"fall of exact match without the {removed.what} ({removed.share:.0%} of the variance)"
        return self.resampling.figure(name, self.intact_B - removed.right_B, "intervention")

    def of_controls(self, removed: Removed) -> Figure:
        """Return the mean fall without the control subspaces."""
        name = f"the same without random subspaces of equal variance, for the {removed.what}"
        return self._mean(name, self.intact_B - removed.control_CB, "control")

    def surplus(self, removed: Removed) -> Figure:
        """Return how much more falls without a subspace than without its controls."""
        name = f"fall of exact match without the {removed.what}, beyond that of random subspaces"
        return self._mean(name, removed.control_CB.astype(np.float64) - removed.right_B, "intervention")

    def _mean(self, name: str, values_CB: Floats, role: Role) -> Figure:
        count, generator = len(values_CB), np.random.default_rng(self.seed)
        times_RC = generator.multinomial(count, np.full(count, 1 / count), size=intervals.RESAMPLES)
        means_R = (self.resampling.means(values_CB.T) * times_RC).sum(1) / count
        return of_samples(name, float(values_CB.mean()), means_R, values_CB.shape[1], "share", role)
