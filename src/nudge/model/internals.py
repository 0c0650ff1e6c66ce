"""A forward pass with everything in it visible and everything changeable: the ground of all claims about the inside.

`trace` computes what `Decoder.forward` computes, step by step. Each intermediate tensor has a name, its *site*, under
which it can be read afterwards and replaced on the way (activation patching, ablation).

Shape suffixes as in `decoder.py`: B batch, T positions, D width, H query heads, E head width, V vocabulary; L layers,
S places in the residual stream (2 L + 1: before the first layer, then after each attention and each MLP).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from nudge.model.decoder import Attention, Block, Decoder
from nudge.model.rotary import RotaryPositions

Edit = Callable[[Tensor], Tensor]  # takes the tensor of a site, returns what stands there instead


@dataclass(frozen=True)
class Trace:
    """What one forward pass computed.

    Attributes:
        stream: the residual stream, S tensors [B, T, D]; `stream[0]` is the embeddings, `stream[2 * l + 1]` follows the
            attention of layer l, `stream[2 * l + 2]` its MLP.
        pattern: who looks at whom, for each layer [B, H, T, T]: rows are the positions that look; each sums to 1.
        mixed: what each head has gathered, before the output projection, for each layer [B, T, H, E].
        attention: what attention adds to the stream, for each layer [B, T, D].
        mlp: what the MLP adds to the stream, for each layer [B, T, D].
        logits_BTV: the prediction after each position.
        values: what each head gathers from a position that it looks at, for each layer [B, T, H, E].
    """

    stream: list[Tensor]
    pattern: list[Tensor]
    mixed: list[Tensor]
    attention: list[Tensor]
    mlp: list[Tensor]
    logits_BTV: Tensor
    values: list[Tensor]


def sites(model: Decoder) -> list[str]:
    """Return the names of all sites, in the order of computation.

    `stream.0` [B, T, D]; for each layer l: `pattern.l` [B, H, T, T], `mixed.l` [B, T, H, E], `attention.l` [B, T, D],
    `stream.(2l+1)`, `mlp.l` [B, T, D], `stream.(2l+2)`.
    """
    names = ["stream.0"]
    for layer in range(model.config.layers):
        names += [f"pattern.{layer}", f"mixed.{layer}", f"attention.{layer}", f"stream.{2 * layer + 1}"]
        names += [f"mlp.{layer}", f"stream.{2 * layer + 2}"]
    return names


def trace(model: Decoder, tokens_BT: Tensor, edits: Mapping[str, Edit] | None = None) -> Trace:
    """Run a model on rows of one document each, and keep everything.

    Rows of different lengths are padded on the right: attention is causal, so padding changes nothing before it.

    Args:
        model: the network, in eval mode.
        tokens_BT: token ids.
        edits: by site, what to put there instead; an edit gets the tensor that was computed and must not change it in
            place. What follows is computed from what the edit returns.

    Raises:
        AssertionError: an edit names no site of this model.
    """
    edits = edits or {}
    assert not set(edits) - set(sites(model)), f"no such site: {set(edits) - set(sites(model))}"

    def edited(site: str, value: Tensor) -> Tensor:
        return edits[site](value) if site in edits else value

    trunk = model.model
    x_BTD = edited("stream.0", trunk.embed_tokens(tokens_BT))
    kept = Trace([x_BTD], [], [], [], [], torch.empty(0), [])
    for number, block in enumerate(_blocks(model)):
        attention = block.self_attn
        scores_BHTT, values_BHTE = _scores(attention, block.input_layernorm(x_BTD), trunk.rotary)
        pattern_BHTT = edited(f"pattern.{number}", scores_BHTT.softmax(-1))
        mixed_BTHE = edited(f"mixed.{number}", (pattern_BHTT @ values_BHTE).transpose(1, 2))
        added_BTD = edited(f"attention.{number}", attention.o_proj(mixed_BTHE.flatten(2)))
        x_BTD = edited(f"stream.{2 * number + 1}", x_BTD + added_BTD)
        kept.stream.append(x_BTD)
        mlp_BTD = edited(f"mlp.{number}", block.mlp(block.post_attention_layernorm(x_BTD)))
        x_BTD = edited(f"stream.{2 * number + 2}", x_BTD + mlp_BTD)
        kept.stream.append(x_BTD)
        kept.pattern.append(pattern_BHTT)
        kept.values.append(values_BHTE.transpose(1, 2))
        kept.mixed.append(mixed_BTHE)
        kept.attention.append(added_BTD)
        kept.mlp.append(mlp_BTD)
    logits_BTV = model.lm_head(trunk.norm(x_BTD))
    return replace(kept, logits_BTV=logits_BTV)


def head_contributions(model: Decoder, layer: int, mixed_BTHE: Tensor) -> Tensor:
    """Return what each head adds to the residual stream, [B, T, H, D]; summed over H it is `Trace.attention[layer]`."""
    attention = _blocks(model)[layer].self_attn
    heads, width = mixed_BTHE.shape[2], attention.head_width
    weight_DHE = attention.o_proj.weight.view(-1, heads, width)
    return torch.einsum("bthe,dhe->bthd", mixed_BTHE, weight_DHE)


def _blocks(model: Decoder) -> list[Block]:
    return cast(list[Block], list(model.model.layers))


def _scores(attention: Attention, x_BTD: Tensor, rotary: RotaryPositions) -> tuple[Tensor, Tensor]:
    """Return the masked attention scores [B, H, T, T], before the softmax, and the values [B, H, T, E]."""
    B, T, _ = x_BTD.shape

    def heads(projected: Tensor) -> Tensor:
        return projected.view(B, T, -1, attention.head_width)

    q_BHTE = rotary(heads(attention.q_proj(x_BTD))).transpose(1, 2)
    k_BKTE = rotary(heads(attention.k_proj(x_BTD))).transpose(1, 2)
    v_BKTE = heads(attention.v_proj(x_BTD)).transpose(1, 2)
    group = q_BHTE.shape[1] // k_BKTE.shape[1]  # query heads that share one key/value head
    k_BHTE, v_BHTE = (tensor.repeat_interleave(group, dim=1) for tensor in (k_BKTE, v_BKTE))
    scores_BHTT = q_BHTE @ k_BHTE.transpose(-1, -2) / attention.head_width**0.5
    future_TT = torch.ones(T, T, dtype=torch.bool, device=x_BTD.device).triu(1)
    return scores_BHTT.masked_fill(future_TT, -torch.inf), v_BHTE


def at_positions(positions_B: Tensor, instead_BD: Tensor) -> Edit:
    """Return an edit that puts a vector at one position of each row, [B] and [B, …], and leaves all else."""

    def edit(value: Tensor) -> Tensor:
        changed = value.clone()
        changed[torch.arange(len(value), device=value.device), positions_B] = instead_BD
        return changed

    return edit


def surprisals(logits_BTV: Tensor, tokens_BT: Tensor) -> Tensor:
    """Return −ln p of each token but the first of its row, [B, T − 1], in nats."""
    log_p_BTV = logits_BTV[:, :-1].float().log_softmax(-1)
    return F.nll_loss(log_p_BTV.transpose(1, 2), tokens_BT[:, 1:], reduction="none")
