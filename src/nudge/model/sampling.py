"""Many answers at once, drawn at random with a key/value cache: the rollouts of reinforcement learning, and best-of-n.

Each answer has uniform numbers of its own, one a token, so that what it says depends neither on the other prompts in
its batch nor on whether a cache was used. `writing.py` goes on with text for people.

Shape suffixes as in `decoder.py`; B answers, T tokens of the prompts, N new tokens.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from nudge.data.tokenizer import PAD_ID
from nudge.errors import UserError
from nudge.model.decoder import Attention, Block, Decoder, same_document
from nudge.model.filtering import Settings, log_probabilities
from nudge.model.generation import Continuation
from nudge.model.rotary import RotaryPositions

BATCH = 512  # texts side by side: with four times as many, a processor's caches don't hold what they need (docs/log.md)
PLAIN = Settings()


class Sampled(NamedTuple):
    """Answers, without their prompts.

    Attributes:
        tokens_BN: what was said, the end token included; padding after it.
        log_p_BN: ln p of each token by the distribution that it was drawn from; 0 on padding.
        said_BN: True for tokens, False for padding.
        ended_B: False where the limit or the context was reached before the end token.
    """

    tokens_BN: Tensor
    log_p_BN: Tensor
    said_BN: Tensor
    ended_B: Tensor

    def answers(self, end: int) -> list[list[int]]:
        """Return each answer's token ids without the end token."""
        rows = zip(self.tokens_BN.tolist(), self.said_BN.sum(1).tolist(), strict=True)
        return [[token for token in row[:length] if token != end] for row, length in rows]


def uniform(answers: int, max_new: int, generator: torch.Generator) -> Tensor:
    """Draw what decides each token of each answer, [answers, max_new]: on the CPU, so that devices don't differ."""
    return torch.rand(answers, max_new, dtype=torch.float64, generator=generator)


def draw(log_p_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """Return a token for each row: the one within whose part of [0, 1) the uniform number lies."""
    edges_BV = log_p_BV.double().exp().cumsum(-1)
    # What rounding leaves above the last edge belongs to the last token that has any probability.
    inside_B1 = (uniform_B[:, None] * edges_BV[:, -1:]).to(edges_BV.dtype)
    return torch.searchsorted(edges_BV, inside_B1, right=True).squeeze(1).clamp(max=log_p_BV.shape[1] - 1)


def chosen(log_p_BV: Tensor, uniform_B: Tensor, settings: Settings) -> Tensor:
    """Return a token for each row, by its uniform number, or the most probable at temperature 0."""
    return log_p_BV.argmax(-1) if settings.temperature == 0 else draw(log_p_BV, uniform_B)


@torch.no_grad()  # not inference mode: what is sampled takes part in losses
def sample(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    end: int,
    uniform_BN: Tensor,
    settings: Settings = PLAIN,
) -> Sampled:
    """Continue each prompt with tokens drawn at random, all side by side.

    A text stops at `end`, with the token that follows a full context, or after N tokens, `end` among them. Prompts of
    unequal length are padded on the left, where nothing sees the padding. Dropout is off.

    Args:
        model: what draws.
        prompts: token ids; the same prompt may stand there several times.
        end: the token that ends an answer.
        uniform_BN: numbers in [0, 1), as `uniform` gives them; N is the most tokens of an answer.
        settings: how tokens are chosen; without a repetition penalty, which `writing.write` has.

    Raises:
        UserError: a prompt leaves no room for an answer.
    """
    uniform_BN = uniform_BN.to(model.device)

    def some(first: int) -> Sampled:
        def drawn(logits_RV: Tensor, rows_R: Tensor, n: int) -> tuple[Tensor, Tensor]:
            log_p_RV = log_probabilities(logits_RV, settings)
            token_R = chosen(log_p_RV, uniform_BN[first + rows_R, n], settings)
            return token_R, log_p_RV.gather(1, token_R[:, None]).squeeze(1)

        return _continued(model, prompts[first : first + BATCH], end, uniform_BN.shape[1], drawn)

    found = [some(first) for first in range(0, len(prompts), BATCH)]
    return Sampled(*(torch.cat(parts) for parts in zip(*found, strict=True)))


@torch.no_grad()
def greedy(model: Decoder, prompts: Sequence[Sequence[int]], end: int, max_new: int) -> list[Continuation]:
    """Continue each prompt with the most probable token, as `generation.greedy`, but with a cache and side by side.

    For a model that lies whole on one device; `generation.greedy` goes through the model's own forward pass.
    """

    def best(logits_RV: Tensor, rows_R: Tensor, n: int) -> tuple[Tensor, Tensor]:
        found = logits_RV.float().log_softmax(-1).max(-1)
        return found.indices, found.values

    answers: dict[int, Continuation] = {}
    # Prompts of about one length share a batch, so that little is padded.
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    for first in range(0, len(order), BATCH):
        places = order[first : first + BATCH]
        found = _continued(model, [prompts[place] for place in places], end, max_new, best)
        log_p_B = found.log_p_BN.sum(1).tolist()
        for place, ids, log_p, ended in zip(places, found.answers(end), log_p_B, found.ended_B.tolist(), strict=True):
            answers[place] = Continuation(tuple(ids), log_p, ended)
    return [answers[place] for place in range(len(prompts))]


def _continued(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    end: int,
    N: int,
    choose: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]],
) -> Sampled:
    """Continue each prompt with the tokens that `choose` takes.

    Args:
        model, prompts, end: see `sample`.
        N: the most tokens of an answer.
        choose: (logits, the rows that they are of, the token's place) → tokens and their ln p.
    """
    lengths = [len(prompt) for prompt in prompts]
    room = [model.config.context + 1 - length for length in lengths]
    if min(room) < 1 or min(lengths) < 1:
        at = room.index(min(room)) if min(room) < 1 else lengths.index(0)
        raise UserError(
            f"prompt {at} has {lengths[at]} tokens; model.context={model.config.context} takes 1 to that many"
        )
    B, T, device = len(prompts), max(lengths), model.device
    padded_BT = torch.tensor([[PAD_ID] * (T - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    pad_B = torch.tensor([T - length for length in lengths], device=device)
    limit_B = torch.tensor([min(N, left) for left in room], device=device)

    tokens_BN = torch.full((B, N), PAD_ID, device=device)
    log_p_BN = torch.zeros(B, N, device=device)
    said_BN = torch.zeros(B, N, dtype=torch.bool, device=device)
    ended_B = torch.zeros(B, dtype=torch.bool, device=device)
    cache = Cache(model, B, T + N, pad_B)
    logits_BV = cache.read(padded_BT)
    rows_R = torch.arange(B, device=device)  # the answers that are not over yet
    for n in range(N):
        token_R, log_p_R = choose(logits_BV, rows_R, n)
        tokens_BN[rows_R, n], log_p_BN[rows_R, n], said_BN[rows_R, n] = token_R, log_p_R, True
        ended_B[rows_R] = token_R == end
        open_R = (token_R != end) & (limit_B[rows_R] > n + 1)
        left = int(open_R.sum())
        if left == 0:
            break
        if left < len(rows_R):
            rows_R, token_R = rows_R[open_R], token_R[open_R]
            cache.keep(open_R)
        logits_BV = cache.read(token_R[:, None])
    return Sampled(tokens_BN, log_p_BN, said_BN, ended_B)


class Cache:
    """Keys and values of what a batch of texts has said so far.

    Args:
        model: what reads.
        batch: texts.
        width: tokens that the longest of them may get.
        pad_B: columns of padding at the left of each.
    """

    def __init__(self, model: Decoder, batch: int, width: int, pad_B: Tensor) -> None:
        self._model, self._pad_B = model, pad_B
        config = model.config
        shape = (2, batch, config.kv_heads, width, config.width // config.heads)
        dtype = model.lm_head.weight.dtype
        self._layers = [torch.zeros(shape, device=pad_B.device, dtype=dtype) for _ in range(config.layers)]
        self._filled = 0

    def keep(self, open_B: Tensor) -> None:
        """Forget the texts that are over."""
        self._pad_B = self._pad_B[open_B]
        self._layers = [layer[:, open_B] for layer in self._layers]

    def read(self, tokens_BT: Tensor) -> Tensor:
        """Read the next tokens of each text; return the logits after the last, [B, V]."""
        begin, end = self._filled, self._filled + tokens_BT.shape[1]
        columns_S = torch.arange(end, device=tokens_BT.device)
        padding_BS = columns_S < self._pad_B[:, None]
        # At the beginning padding sees padding, so that no row of the softmax is empty.
        visible_B1TS = ~padding_BS[:, None, None] if begin else same_document(padding_BS)
        # As numbers to add, made once for all layers.
        hidden_B1TS = torch.zeros(visible_B1TS.shape, device=tokens_BT.device).masked_fill_(~visible_B1TS, -torch.inf)
        positions_BT = (columns_S[begin:] - self._pad_B[:, None]).clamp(min=0)
        trunk = self._model.model
        x_BTD = trunk.embed_tokens(tokens_BT)
        for module, layer in zip(trunk.layers, self._layers, strict=True):
            block = cast(Block, module)
            normed_BTD = block.input_layernorm(x_BTD)
            x_BTD = x_BTD + _attend(
                block.self_attn, normed_BTD, trunk.rotary, positions_BT, layer[:, :, :, :end], hidden_B1TS
            )
            x_BTD = x_BTD + block.mlp(block.post_attention_layernorm(x_BTD))
        self._filled = end
        return self._model.lm_head(trunk.norm(x_BTD[:, -1]))


def _attend(
    attention: Attention,
    x_BTD: Tensor,
    rotary: RotaryPositions,
    positions_BT: Tensor,
    layer_2BKSE: Tensor,
    hidden_B1TS: Tensor,
) -> Tensor:
    """Compute what `Attention` computes for the last T of S positions, and put their keys and values into the layer."""
    B, T, _ = x_BTD.shape
    cos_BT1E, sin_BT1E = rotary.cos_T1E[positions_BT].to(x_BTD.dtype), rotary.sin_T1E[positions_BT].to(x_BTD.dtype)

    def turned(x_BTHE: Tensor) -> Tensor:
        first, second = x_BTHE.chunk(2, dim=-1)
        return x_BTHE * cos_BT1E + torch.cat((-second, first), dim=-1) * sin_BT1E

    query_BTHE, key_BTKE, value_BTKE = (
        projection(x_BTD).view(B, T, -1, attention.head_width)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    layer_2BKSE[0, :, :, -T:] = turned(key_BTKE).transpose(1, 2)
    layer_2BKSE[1, :, :, -T:] = value_BTKE.transpose(1, 2)
    mixed_BHTE = F.scaled_dot_product_attention(
        turned(query_BTHE).transpose(1, 2),
        layer_2BKSE[0],
        layer_2BKSE[1],
        attn_mask=hidden_B1TS.to(x_BTD.dtype),
        enable_gqa=attention.grouped,
    )
    return attention.o_proj(mixed_BHTE.transpose(1, 2).reshape(B, T, -1))
