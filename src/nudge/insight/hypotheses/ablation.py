"""Interventions on attention: take away what a head says, or what it gathers from one kind of token, and ask again.

Shape suffixes as in `model/internals.py`, and R roles.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nudge.insight.questions import ROLES, Questions, exact_match
from nudge.model.decoder import Decoder
from nudge.model.internals import Edit, Trace, trace

SEEN = ROLES[: ROLES.index("end")]  # what a position that produces an answer can look at
BATCH = 512  # questions of about one length; larger ones leave the processor's cache


@dataclass(frozen=True)
class Observed:
    """A batch of questions, and what an unchanged model computes on it."""

    batch: Questions
    trace: Trace


Edits = Callable[[Observed], dict[str, Edit]]


@torch.inference_mode()
def observe(model: Decoder, questions: Questions) -> list[Observed]:
    """Run a model on all questions."""
    return [Observed(batch, trace(model, batch.tokens_BT)) for batch in questions.batches(BATCH)]


@torch.inference_mode()
def looks(seen: Sequence[Observed]) -> tuple[Tensor, Tensor]:
    """Return the share of attention that each head gives to each of `SEEN` roles, and what uniform attention would.

    Means over the positions that produce a question's answer.

    Returns:
        [B, L, H, R] and [B, R]; both sum to 1 over R.
    """
    shares, uniform = [], []
    for one in seen:
        produces_BT = one.batch.produces_BT.float()
        produces_BT = produces_BT / produces_BT.sum(1, keepdim=True)
        role_BTR = torch.stack([one.batch.has(role) for role in SEEN], -1).float()
        pattern_BLHTT = torch.stack(one.trace.pattern, 1)
        shares.append(torch.einsum("bq,blhqk,bkr->blhr", produces_BT, pattern_BLHTT, role_BTR))
        visible_TT = torch.ones(pattern_BLHTT.shape[-2:]).tril()
        even_TT = visible_TT / visible_TT.sum(1, keepdim=True)
        uniform.append(torch.einsum("bq,qk,bkr->br", produces_BT, even_TT, role_BTR))
    return torch.cat(shares), torch.cat(uniform)


@torch.inference_mode()
def exact(model: Decoder, seen: Sequence[Observed], edits: Edits | None = None) -> Tensor:
    """Return 1 for each question that is answered exactly under edits made for its batch, else 0, [B]."""
    answered = []
    for one in seen:
        logits_BTV = trace(model, one.batch.tokens_BT, edits(one)).logits_BTV if edits else one.trace.logits_BTV
        answered.append(exact_match(logits_BTV, one.batch))
    return torch.cat(answered).double()


@torch.inference_mode()
def means(seen: Sequence[Observed], what: Literal["mixed", "values"]) -> list[Tensor]:
    """Return the mean of `Trace.mixed` or `Trace.values` at each word of each role, for each layer [R, words, H, E].

    Each is over all questions that have such a position.
    """
    words = 1 + max(int(one.batch.word_BT.max()) for one in seen)
    count_G = torch.zeros(len(ROLES) * words)
    sums: list[Tensor] = [torch.zeros(len(count_G), *each.shape[2:]) for each in getattr(seen[0].trace, what)]
    for one in seen:
        group_N = (one.batch.role_BT * words + one.batch.word_BT).flatten()
        count_G += torch.bincount(group_N, minlength=len(count_G))
        for sum_GHE, each_BTHE in zip(sums, getattr(one.trace, what), strict=True):
            sum_GHE.index_add_(0, group_N, each_BTHE.flatten(0, 1))
    return [
        (sum_GHE / count_G.clamp_min(1)[:, None, None]).view(len(ROLES), words, *sum_GHE.shape[1:]) for sum_GHE in sums
    ]


def head_ablation(mean: list[Tensor], layer: int, head: int) -> Edits:
    """Return edits that put, for what one head has gathered, the mean of that.

    What stays is what the head always says at a position, what goes is what it says of this question (Wang et al. 2022,
    arXiv:2211.00593, section 3.1).

    Args:
        mean: `means` of "mixed".
    """

    def edits(one: Observed) -> dict[str, Edit]:
        def edit(mixed_BTHE: Tensor) -> Tensor:
            changed_BTHE = mixed_BTHE.clone()
            changed_BTHE[:, :, head] = mean[layer][one.batch.role_BT, one.batch.word_BT, head]
            return changed_BTHE

        return {f"mixed.{layer}": edit}

    return edits


def edge_ablation(mean: list[Tensor], layer: int, head: int, role: str, one_token_seed: int | None = None) -> Edits:
    """Return edits by which one head, where answers are produced, gathers only the mean from the tokens of a role.

    The attention stays as it is; of what it brings, only that is lost which differs between questions. So a token that
    is the same in all questions, like the begin token, costs nothing, however much the network leans on it.

    Args:
        mean: `means` of "values".
        one_token_seed: ablate only one token of the role, drawn at random for each question; None all of them.
    """

    def edits(one: Observed) -> dict[str, Edit]:
        value_BTE = one.trace.values[layer][:, :, head]
        lost_BTE = value_BTE - mean[layer][one.batch.role_BT, one.batch.word_BT, head]
        pattern_BTT = one.trace.pattern[layer][:, head] * _edges(one.batch, role, one_token_seed)

        def edit(mixed_BTHE: Tensor) -> Tensor:
            changed_BTHE = mixed_BTHE.clone()
            changed_BTHE[:, :, head] -= pattern_BTT @ lost_BTE
            return changed_BTHE

        return {f"mixed.{layer}": edit}

    return edits


def edge_hiding(layer: int, head: int, role: str) -> Edits:
    """Return edits that hide the tokens of a role from one head where answers are produced.

    The attention to them becomes 0, and the rest is scaled up to sum to 1 again. This also disturbs a network that
    doesn't need the tokens, but has come to count on a part of its attention resting there.
    """

    def edits(one: Observed) -> dict[str, Edit]:
        hidden_BTT = _edges(one.batch, role)

        def edit(pattern_BHTT: Tensor) -> Tensor:
            changed_BHTT = pattern_BHTT.clone()
            left_BTT = changed_BHTT[:, head].masked_fill(hidden_BTT, 0)
            changed_BHTT[:, head] = left_BTT / left_BTT.sum(-1, keepdim=True).clamp_min(1e-12)
            return changed_BHTT

        return {f"pattern.{layer}": edit}

    return edits


def _edges(batch: Questions, role: str, one_token_seed: int | None = None) -> Tensor:
    """Say which position looks at which: those that produce the answer at the tokens of a role, [B, T, T]."""
    chosen_BT = batch.has(role)
    if one_token_seed is not None:
        draw_BT = torch.rand(chosen_BT.shape, generator=torch.Generator().manual_seed(one_token_seed))
        first_B = draw_BT.masked_fill(~chosen_BT, -1).argmax(1)
        chosen_BT = chosen_BT & torch.nn.functional.one_hot(first_B, chosen_BT.shape[1]).bool()
    return batch.produces_BT[:, :, None] & chosen_BT[:, None, :]
