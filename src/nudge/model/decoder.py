"""The network: tokens → embeddings → attention → output, in Llama's shape.

Parameter names are those of Hugging Face's Llama, so that a saved model loads in `transformers` without renaming.

Shape suffixes of tensor names:
    B batch, T positions, D width, H query heads, K key/value heads, E head width, F MLP width, V vocabulary
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from nudge.config.schema import ModelConfig
from nudge.model.norm import RMSNorm
from nudge.model.rotary import RotaryPositions

PARTS = ("embeddings", "attention", "mlp", "output")


class Attention(nn.Module):
    """Causal self-attention, optionally with fewer key/value heads than query heads (Ainslie et al. 2023)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_width = config.width // config.heads
        self.q_proj = nn.Linear(config.width, config.heads * self.head_width, bias=False)
        self.k_proj = nn.Linear(config.width, config.kv_heads * self.head_width, bias=False)
        self.v_proj = nn.Linear(config.width, config.kv_heads * self.head_width, bias=False)
        self.o_proj = nn.Linear(config.heads * self.head_width, config.width, bias=False)
        self.grouped = config.kv_heads != config.heads
        self.dropout = config.dropout

    def forward(self, x_BTD: Tensor, rotary: RotaryPositions, visible_B1TT: Tensor | None) -> Tensor:
        B, T, _ = x_BTD.shape

        def heads(projection: nn.Linear) -> Tensor:
            return projection(x_BTD).view(B, T, -1, self.head_width)

        mixed_BHTE = F.scaled_dot_product_attention(
            rotary(heads(self.q_proj)).transpose(1, 2),
            rotary(heads(self.k_proj)).transpose(1, 2),
            heads(self.v_proj).transpose(1, 2),
            attn_mask=visible_B1TT,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=visible_B1TT is None,
            enable_gqa=self.grouped,
        )
        return self.o_proj(mixed_BHTE.transpose(1, 2).reshape(B, T, -1))


class MLP(nn.Module):
    """Gated feed-forward layer, SwiGLU (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.mlp_width, bias=False)
        self.up_proj = nn.Linear(config.width, config.mlp_width, bias=False)
        self.down_proj = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))


class Block(nn.Module):
    """One layer: attention, then MLP, each added to the residual stream after RMSNorm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, eps=config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.width, eps=config.norm_eps)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: Tensor, rotary: RotaryPositions, visible_B1TT: Tensor | None) -> Tensor:
        x_BTD = x_BTD + self.dropout(self.self_attn(self.input_layernorm(x_BTD), rotary, visible_B1TT))
        return x_BTD + self.dropout(self.mlp(self.post_attention_layernorm(x_BTD)))


class Trunk(nn.Module):
    """Everything between token ids and the output layer."""

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, eps=config.norm_eps)
        # A document fills the context with all its tokens but the end, which is only predicted; who looks inside the
        # model reads the end token too, one position further.
        self.rotary = RotaryPositions(config.width // config.heads, config.context + 1, config.rope_theta)
        self.recompute = False  # in the backward pass, what happens inside blocks; in place of keeping it

    def forward(self, tokens_BT: Tensor, documents_BT: Tensor | None) -> Tensor:
        visible_B1TT = None if documents_BT is None else same_document(documents_BT)
        x_BTD = self.embed_tokens(tokens_BT)
        for block in self.layers:
            if self.recompute and torch.is_grad_enabled():
                x_BTD = checkpoint(block, x_BTD, self.rotary, visible_B1TT, use_reentrant=False)
            else:
                x_BTD = block(x_BTD, self.rotary, visible_B1TT)
        return self.norm(x_BTD)


class Decoder(nn.Module):
    """A Llama-shaped language model: token ids in, next-token logits out.

    Args:
        config: the shape of the network.
        vocabulary: number of distinct tokens, V.
    """

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.model = Trunk(config, vocabulary)
        self.lm_head = nn.Linear(config.width, vocabulary, bias=False)
        if config.tied:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, tokens_BT: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Return logits [B, T, V] for the token after each of `tokens_BT` [B, T]; T is at most the context.

        One position more is computed too, for whole documents with their end token; no model is trained on it.
        Where several documents stand in one row, `documents_BT` [B, T] numbers them, and none sees another. Rotary
        positions count distances only, so a document's logits don't depend on where in its row it stands.
        """
        return self.lm_head(self.model(tokens_BT, documents_BT))

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return self.lm_head.weight.device

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights at random, so that the first guess is close to uniform: loss = ln(V).

        Matrices start with variance 1/fan_in; those that write into the residual stream are scaled down by
        sqrt(2 × layers), so that its variance does not grow with depth (Radford et al. 2019, section 2.3). The
        output layer starts small enough that its logits barely differ.
        """
        residual_scale = 1 / math.sqrt(2 * self.config.layers)
        for name, weight in self.named_parameters():
            if weight.dim() == 1:
                weight.fill_(1.0)
                continue
            std = 1 / math.sqrt(weight.shape[1])
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                std *= residual_scale
            if name.endswith(("lm_head.weight", "embed_tokens.weight")):
                std = self.config.embedding_std
            weight.normal_(0.0, std, generator=generator)


def shard(model: Decoder, mesh: DeviceMesh) -> None:
    """Divide a model's weights among the devices of a mesh (FSDP2): block by block, then the rest.

    Each device holds its part of every matrix and gathers a block's weights only while it computes with them.
    """
    if any(isinstance(weight, DTensor) for weight in model.parameters()):
        return
    for block in model.model.layers:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def recompute_blocks(model: nn.Module) -> None:
    """Have every network in `model` keep only the inputs of blocks for the backward pass, and compute the rest again.

    What comes out is the same to the last bit (activation checkpointing, Chen et al. 2016, arXiv:1604.06174).
    """
    for module in model.modules():
        if isinstance(module, Trunk):
            module.recompute = True


def same_document(documents_BT: Tensor) -> Tensor:
    """Return which position may see which, [B, 1, T, T]: those before it in the same document, and itself."""
    T = documents_BT.shape[1]
    causal_TT = torch.ones(T, T, dtype=torch.bool, device=documents_BT.device).tril()
    return (causal_TT & (documents_BT[:, :, None] == documents_BT[:, None, :]))[:, None]


def part_of(name: str) -> str:
    """Name the part of the network that a parameter belongs to: one of `PARTS`."""
    if name.startswith("model.embed_tokens"):
        return "embeddings"
    if ".self_attn." in name or ".input_layernorm" in name:
        return "attention"
    if ".mlp." in name or ".post_attention_layernorm" in name:
        return "mlp"
    return "output"
