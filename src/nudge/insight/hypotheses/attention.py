"""Hypothesis "attention patterns": at the positions that say the answer, a head looks at the operands, and needs them.

Shape suffixes as in `model/internals.py`, and R roles, K edges: (layer, head, role looked at), from the positions that
produce the answer. Shares of attention are means over these positions of a question.
"""

from typing import Any

import numpy as np
from scipy import stats
from torch import Tensor

from nudge.insight.finding import Criterion, Figure, Finding
from nudge.insight.hypotheses.ablation import (
    SEEN,
    Edits,
    edge_ablation,
    edge_hiding,
    exact,
    head_ablation,
    looks,
    means,
    observe,
)
from nudge.insight.questions import Questions
from nudge.insight.resampling import Resampling, Role, Values, of_samples
from nudge.model.decoder import Decoder

OPERANDS = ("left", "right")
# The prompt's other tokens: always there, one of each in the calculator's phrasing.
OTHERS = ("begin", "operator", "equals")


def test(model: Decoder, untrained: Decoder, questions: Questions, seed: int) -> Finding:
    """Test whether heads look at the operands when they answer, and whether the answer depends on just that.

    Args:
        model: the network, in eval mode.
        untrained: the same with the weights that its training began with.
        questions: facts that it has not seen.
        seed: chooses the bootstrap samples, and one token of each operand, where edges of equal number are compared.
    """
    questions = questions.where(np.argsort(questions.length_B.numpy(), kind="stable"))
    resampling = Resampling(questions, seed)
    seen = observe(model, questions)
    looks_BLHR, uniform_BR = looks(seen)
    fresh_BLHR, _ = looks(observe(untrained, questions))
    before_B = exact(model, seen)
    heads = [(layer, head) for layer in range(model.config.layers) for head in range(model.config.heads)]
    edges = [(layer, head, role) for layer, head in heads for role in SEEN]

    def fall(edits: Edits) -> Values:
        return (before_B - exact(model, seen, edits)).numpy()

    mixed, values = (means(seen, what) for what in ("mixed", "values"))
    ablated = {(layer, head): fall(head_ablation(mixed, layer, head)) for layer, head in heads}
    cut = {edge: fall(edge_ablation(values, *edge)) for edge in edges}
    hidden = {edge: fall(edge_hiding(*edge)) for edge in edges}

    def one_token_fall(role: str) -> Values:
        if (questions.has(role).sum(1) == 1).all():  # all of the role's tokens are one: already known
            return np.mean([cut[*at, role] for at in heads], axis=0)
        return np.mean([fall(edge_ablation(values, *at, role, seed)) for at in heads], axis=0)

    excess_BLHR = (looks_BLHR - uniform_BR[:, None, None]).numpy()
    best, over_uniform_B = _most(excess_BLHR)
    fresh_best, fresh_B = _most((fresh_BLHR - uniform_BR[:, None, None]).numpy())
    operands_B, others_B = (np.mean([*map(one_token_fall, roles)], axis=0) for roles in (OPERANDS, OTHERS))
    falls_BK, hidden_BK = (np.stack([of[edge] for edge in edges], axis=1) for of in (cut, hidden))
    looks_BK, excess_BK = (each.reshape(len(questions), -1) for each in (looks_BLHR.numpy(), excess_BLHR))
    rank = rank_correlation("attention and need", looks_BK, falls_BK, resampling)
    figure = resampling.figure
    in_operands = [SEEN.index(role) for role in OPERANDS]

    def to_operands(name: str, shares_BLHR: Tensor, role: Role) -> Figure:
        shares_B = shares_BLHR[..., in_operands].sum(-1).mean((1, 2))
        return figure(f"attention to the operands, {name}", shares_B, role)

    criteria = [
        Criterion(
            "some head gives the operands at least 0.1 more of its attention than uniform would: of 20 networks with "
            "random weights three come as far by chance, none much farther (docs/insight.md)",
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
            "taking from one head what it gathers from one operand token costs at least 0.1 more of the answers than "
            "the same with one other token of the prompt: the dependence is on operands, and not on any disturbance",
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
            figure("fall in exact match, one operand token ablated for one head", operands_B, "intervention"),
            figure("fall in exact match, one other token ablated for one head", others_B, "control"),
            rank,
            rank_correlation("attention above uniform and need", excess_BK, falls_BK, resampling),
            rank_correlation("attention and fall when the token is hidden", looks_BK, hidden_BK, resampling),
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
                    "fall_if_hidden": float(hidden[layer, head, role].mean()),
                    **row,
                }
                for layer, head, role in edges
                for row in _by_operation(cut[layer, head, role], questions, resampling)
            ],
        },
    )


def rank_correlation(name: str, looks_BK: Values, falls_BK: Values, resampling: Resampling) -> Figure:
    """Return Spearman's rank correlation over edges of their mean attention and the mean fall when they are ablated.

    NaN where all falls are equal: if nothing is answered, nothing can fall.
    """

    def spearman(looks_RK: Values, falls_RK: Values) -> Values:
        centred = [ranks - ranks.mean(1, keepdims=True) for ranks in (_ranks(looks_RK), _ranks(falls_RK))]
        with np.errstate(invalid="ignore"):
            return (centred[0] * centred[1]).sum(1) / np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))

    value = float(spearman(looks_BK.mean(0, keepdims=True), falls_BK.mean(0, keepdims=True))[0])
    samples_R = spearman(resampling.means(looks_BK), resampling.means(falls_BK))
    return of_samples(f"rank correlation over edges of {name}", value, samples_R, looks_BK.shape[1], "", "measure")


def _ranks(values_RK: Values) -> Values:
    return np.asarray(stats.rankdata(values_RK, axis=1), dtype=np.float64)


def _most(excess_BLHR: Values) -> tuple[str, Values]:
    """Return the head that looks at the operands most, as "layer.head", and by how much above uniform, [B]."""
    operands_BLH = excess_BLHR[..., [SEEN.index(role) for role in OPERANDS]].sum(-1)
    layer, head = np.unravel_index(operands_BLH.mean(0).argmax(), operands_BLH.shape[1:])
    return f"{layer}.{head}", operands_BLH[:, layer, head]


def _in_words(rank: Figure) -> str:
    if np.isnan(rank.value):
        return "here nothing can be said of it, since no edge costs an answer"
    interval = f"{rank.value:.2f} (95 % interval {rank.low:.2f} to {rank.high:.2f})"
    start = f"over {rank.n} edges its rank correlation with what ablating them costs is {interval}, so "
    if rank.low > 0:
        return start + "it hints at where to look, and the ablation is the evidence"
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
