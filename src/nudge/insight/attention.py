"""Hypothesis "attention patterns": at the positions that say the answer, a head looks at the operands, and needs them.

Shape suffixes as in `model/internals.py`, and R roles, K edges (layer, head, role looked at), G groups of positions.
Shares are means over a question's answering positions: those after which a token of the answer or the end token comes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from nudge.insight.finding import Criterion, Figure, Finding
from nudge.insight.questions import ROLES, Questions, exact_match
from nudge.insight.resampling import Resampling, Role, Values, of_samples
from nudge.model.decoder import Decoder
from nudge.model.internals import Edit, trace

SEEN = ROLES[: ROLES.index("end")]  # what an answering position can look at
OPERANDS = ("left", "right")
# The prompt's other tokens: always there, one of each in the calculator's phrasing.
OTHERS = ("begin", "operator", "equals")
BATCH = 512  # questions of about one length; larger ones leave the processor's cache
Edits = Callable[[Questions], dict[str, Edit]]


def test(model: Decoder, untrained: Decoder, questions: Questions, seed: int) -> Finding:
    """Test whether heads look at the operands when they answer, and whether the answer depends on just that.

    Args:
        model: the network, in eval mode.
        untrained: the same with the weights that its training began with.
        questions: facts that it has not seen.
        seed: chooses the bootstrap samples, and the one token of an operand that the equal cut takes away.
    """
    questions = questions.where(np.argsort(questions.length_B.numpy(), kind="stable"))
    resampling = Resampling(questions, seed)
    looks_BLHR, uniform_BR = looks(model, questions)
    fresh_BLHR, _ = looks(untrained, questions)
    before_B = exact(model, questions)
    heads = [(layer, head) for layer in range(model.config.layers) for head in range(model.config.heads)]
    edges = [(layer, head, role) for layer, head in heads for role in SEEN]

    def fall(edits: Edits) -> Values:
        return (before_B - exact(model, questions, edits)).numpy()

    means = mean_mixed(model, questions)
    ablated = {(layer, head): fall(mean_ablation(means, layer, head)) for layer, head in heads}
    cut = {edge: fall(edge_cut(*edge)) for edge in edges}

    def one_token_fall(role: str) -> Values:
        if (questions.has(role).sum(1) == 1).all():  # all of the role's tokens are one: already known
            return np.mean([cut[*at, role] for at in heads], axis=0)
        return np.mean([fall(edge_cut(*at, role, seed)) for at in heads], axis=0)

    excess_BLHR = (looks_BLHR - uniform_BR[:, None, None]).numpy()
    best, over_uniform_B = _most(excess_BLHR)
    fresh_best, fresh_B = _most((fresh_BLHR - uniform_BR[:, None, None]).numpy())
    operands_B, others_B = (np.mean([*map(one_token_fall, roles)], axis=0) for roles in (OPERANDS, OTHERS))
    looks_BK = looks_BLHR.flatten(1).numpy()
    falls_BK = np.stack([cut[edge] for edge in edges], axis=1)
    rank = rank_correlation("rank correlation of attention and need, over edges", looks_BK, falls_BK, resampling)
    rank_excess = rank_correlation(
        "the same, of attention above uniform", excess_BLHR.reshape(len(questions), -1), falls_BK, resampling
    )
    figure = resampling.figure
    in_operands = [SEEN.index(role) for role in OPERANDS]

    def to_operands(name: str, shares_BLHR: Tensor, role: Role) -> Figure:
        shares_B = shares_BLHR[..., in_operands].sum(-1).mean((1, 2))
        return figure(f"attention to the operands, {name}", shares_B, role)

    criteria = [
        Criterion(
            "some head gives the operands at least 0.1 more of its attention than uniform would: the best of 20 models "
            "of random weights comes to 0.07 by chance (docs/insight.md)",
            figure(f"attention to the operands above uniform, head {best}", over_uniform_B, "measure"),
            0.1,
        ),
        Criterion(
            "that is more than the same of untrained weights: else training has not made the pattern",
            figure(
                f"attention to the operands above uniform, head {best} less untrained head {fresh_best}",
                over_uniform_B - fresh_B,
                "control",
            ),
            0.0,
        ),
        Criterion(
            "hiding one operand token from one head costs at least 0.1 more of the answers than hiding one other token "
            "of the prompt: the dependence is on operands, not on attention being disturbed",
            figure("fall by one operand token less fall by one other token", operands_B - others_B, "intervention"),
            0.1,
        ),
    ]
    return Finding(
        hypothesis="attention patterns",
        claim="At the positions that say the answer, attention looks at the operands, and the answer depends on that.",
        criteria=criteria,
        figures=[
            figure("exact match, nothing changed", before_B, "measure"),
            to_operands("mean over heads", looks_BLHR, "measure"),
            to_operands("uniform over visible tokens", uniform_BR[:, None, None], "control"),
            to_operands("untrained weights, mean over heads", fresh_BLHR, "control"),
            figure("fall in exact match, one operand token hidden from one head", operands_B, "intervention"),
            figure("fall in exact match, one other token hidden from one head", others_B, "control"),
            rank,
            rank_excess,
        ],
        caveat=f"Attention weight alone is not an explanation: {_in_words(rank)}.",
        details={
            "attention": _attention_table(looks_BLHR, uniform_BR, fresh_BLHR),
            "heads": [
                {"layer": layer, "head": head, **row}
                for (layer, head), fall_B in ablated.items()
                for row in _by_operation(fall_B, questions, resampling)
            ],
            "edges": [
                {
                    "layer": layer,
                    "head": head,
                    "role": role,
                    "attention": float(looks_BLHR[:, layer, head, SEEN.index(role)].mean()),
                    "uniform": float(uniform_BR[:, SEEN.index(role)].mean()),
                    **_plain(figure("", cut[layer, head, role], "intervention")),
                }
                for layer, head, role in edges
            ],
        },
    )


@torch.inference_mode()
def looks(model: Decoder, questions: Questions) -> tuple[Tensor, Tensor]:
    """Return the share of attention that each head gives to each of `SEEN` roles, and what uniform attention would.

    Returns:
        [B, L, H, R] and [B, R]; both sum to 1 over R.
    """
    shares, uniform = [], []
    for batch in questions.batches(BATCH):
        pattern_BLHTT = torch.stack(trace(model, batch.tokens_BT).pattern, 1)
        asked_BT = batch.asked_BT.float()
        asked_BT = asked_BT / asked_BT.sum(1, keepdim=True)
        role_BTR = torch.stack([batch.has(role) for role in SEEN], -1).float()
        shares.append(torch.einsum("bq,blhqk,bkr->blhr", asked_BT, pattern_BLHTT, role_BTR))
        T = batch.tokens_BT.shape[1]
        visible_TT = torch.ones(T, T).tril()
        uniform.append(torch.einsum("bq,qk,bkr->br", asked_BT, visible_TT / visible_TT.sum(1, keepdim=True), role_BTR))
    return torch.cat(shares), torch.cat(uniform)


@torch.inference_mode()
def exact(model: Decoder, questions: Questions, edits: Edits | None = None) -> Tensor:
    """Return 1 for each question that is answered exactly under edits made for its batch, else 0, [B]."""
    answered = [
        exact_match(trace(model, batch.tokens_BT, edits(batch) if edits else None).logits_BTV, batch)
        for batch in questions.batches(BATCH)
    ]
    return torch.cat(answered).double()


def edge_cut(layer: int, head: int, role: str, one_token_seed: int | None = None) -> Edits:
    """Return edits that hide the tokens of a role from one head at the answering positions.

    The attention to them becomes 0, and the rest is scaled up to sum to 1 again.

    Args:
        one_token_seed: hide only one token of the role, drawn at random for each question; None hides all.
    """

    def edits(batch: Questions) -> dict[str, Edit]:
        hidden_BT = batch.has(role)
        if one_token_seed is not None:
            draw_BT = torch.rand(hidden_BT.shape, generator=torch.Generator().manual_seed(one_token_seed))
            first_B = draw_BT.masked_fill(~hidden_BT, -1).argmax(1)
            hidden_BT = hidden_BT & torch.nn.functional.one_hot(first_B, hidden_BT.shape[1]).bool()
        cut_BTT = batch.asked_BT[:, :, None] & hidden_BT[:, None, :]

        def edit(pattern_BHTT: Tensor) -> Tensor:
            changed_BHTT = pattern_BHTT.clone()
            left_BTT = changed_BHTT[:, head].masked_fill(cut_BTT, 0)
            changed_BHTT[:, head] = left_BTT / left_BTT.sum(-1, keepdim=True).clamp_min(1e-12)
            return changed_BHTT

        return {f"pattern.{layer}": edit}

    return edits


@torch.inference_mode()
def mean_mixed(model: Decoder, questions: Questions) -> list[Tensor]:
    """Return what heads gather on average at each word of each role, for each layer [roles, words, H, E].

    Each is the mean over all questions that have such a position.
    """
    words, config = int(questions.word_BT.max()) + 1, model.config
    sums = torch.zeros(config.layers, len(ROLES) * words, config.width)
    count_G = torch.zeros(len(ROLES) * words)
    for batch in questions.batches(BATCH):
        group_N = (batch.role_BT * words + batch.word_BT).flatten()
        count_G += torch.bincount(group_N, minlength=len(count_G))
        for sum_GD, mixed_BTHE in zip(sums, trace(model, batch.tokens_BT).mixed, strict=True):
            sum_GD.index_add_(0, group_N, mixed_BTHE.flatten(2).flatten(0, 1))
    means = sums / count_G.clamp_min(1)[:, None]
    return list(means.view(config.layers, len(ROLES), words, config.heads, -1))


def mean_ablation(means: list[Tensor], layer: int, head: int) -> Edits:
    """Return edits that put, for what one head has gathered, its mean from `mean_mixed`.

    What stays is what a position always says, what goes is what it says of this question (Wang et al. 2022,
    arXiv:2211.00593, section 3.1).
    """

    def edits(batch: Questions) -> dict[str, Edit]:
        def edit(mixed_BTHE: Tensor) -> Tensor:
            changed_BTHE = mixed_BTHE.clone()
            changed_BTHE[:, :, head] = means[layer][batch.role_BT, batch.word_BT, head]
            return changed_BTHE

        return {f"mixed.{layer}": edit}

    return edits


def rank_correlation(name: str, looks_BK: Values, falls_BK: Values, resampling: Resampling) -> Figure:
    """Return Spearman's rank correlation over edges of their mean attention and the mean fall when they are cut.

    NaN where all falls are equal: if nothing is answered, nothing can fall.
    """

    def spearman(looks_RK: Values, falls_RK: Values) -> Values:
        centred = [ranks - ranks.mean(1, keepdims=True) for ranks in (_ranks(looks_RK), _ranks(falls_RK))]
        with np.errstate(invalid="ignore"):
            return (centred[0] * centred[1]).sum(1) / np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))

    value = float(spearman(looks_BK.mean(0, keepdims=True), falls_BK.mean(0, keepdims=True))[0])
    samples_R = spearman(resampling.means(looks_BK), resampling.means(falls_BK))
    return of_samples(name, value, samples_R, looks_BK.shape[1], "", "measure")


def _ranks(values_RK: Values) -> Values:
    return np.asarray(stats.rankdata(values_RK, axis=1), dtype=np.float64)


def _most(excess_BLHR: Values) -> tuple[str, Values]:
    """Return the head that looks at the operands most, as "layer.head", and by how much above uniform, [B]."""
    operands_BLH = excess_BLHR[..., [SEEN.index(role) for role in OPERANDS]].sum(-1)
    layer, head = np.unravel_index(operands_BLH.mean(0).argmax(), operands_BLH.shape[1:])
    return f"{layer}.{head}", operands_BLH[:, layer, head]


def _in_words(rank: Figure) -> str:
    if np.isnan(rank.value):
        return "here nothing can be said of it, since no cut costs an answer"
    interval = f"{rank.value:.2f} (95 % interval {rank.low:.2f} to {rank.high:.2f})"
    start = f"over {rank.n} edges its rank correlation with what a cut costs is {interval}, so "
    if rank.low > 0:
        return start + "it is a hint at where to cut, and the cut is the evidence"
    return start + "it does not tell which edges are needed"


def _by_operation(fall_B: Values, questions: Questions, resampling: Resampling) -> list[dict[str, Any]]:
    operation_B = questions.column("operation")
    rows = [{"operation": "all", **_plain(resampling.figure("", fall_B, "intervention"))}]
    for name in dict.fromkeys(operation_B.tolist()):
        among_B = operation_B == name
        rows.append({"operation": name, **_plain(resampling.figure("", fall_B, "intervention", among_B=among_B))})
    return rows


def _plain(fall: Figure) -> dict[str, Any]:
    return {"fall": fall.value, "low": fall.low, "high": fall.high, "n": fall.n}


def _attention_table(looks_BLHR: Tensor, uniform_BR: Tensor, fresh_BLHR: Tensor) -> list[dict[str, Any]]:
    uniform_R, mean_LHR, fresh_LHR = uniform_BR.mean(0), looks_BLHR.mean(0), fresh_BLHR.mean(0)
    return [
        {
            "layer": layer,
            "head": head,
            "role": role,
            "attention": float(mean_LHR[layer, head, place]),
            "uniform": float(uniform_R[place]),
            "untrained": float(fresh_LHR[layer, head, place]),
        }
        for layer in range(mean_LHR.shape[0])
        for head in range(mean_LHR.shape[1])
        for place, role in enumerate(SEEN)
    ]
