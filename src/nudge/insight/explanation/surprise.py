"""Surprise: how improbable each token of a text was to a model, and what it expected instead."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from nudge.data import tokenizer
from nudge.errors import UserError
from nudge.model.saved import Saved


class Alternative(NamedTuple):
    """A token that could have stood there."""

    token: str
    probability: float
    surprisal: float


@dataclass(frozen=True)
class Surprise:
    """What a model made of one token, given those before it.

    Attributes:
        token: the token that stands there.
        probability: what the model gave it, 0 to 1.
        surprisal: −ln of that, in nats.
        rank: 1 if no token was more probable.
        alternatives: the most probable other tokens, best first.
    """

    token: str
    probability: float
    surprisal: float
    rank: int
    alternatives: list[Alternative]


@dataclass(frozen=True)
class Reading:
    """A text as a model reads it: one surprise for each token after the begin token.

    Attributes:
        tokens: the surprises.
        mean: of their surprisals, in nats; for a whole document it is the loss that training logs.
        perplexity: exp(mean): among how many equally probable tokens the model was choosing, as it were.
    """

    tokens: list[Surprise]
    mean: float
    perplexity: float


def encode(text: str, model: Saved, whole: bool) -> list[int]:
    """Turn a text into token ids, from the begin token to the last word or, if it is `whole`, to the end token.

    Raises:
        UserError: it is empty, has unknown words, or is longer than the context.
    """
    if not text.strip():
        raise UserError('the text is empty; explain for example "two plus three equals five"')
    tokenizer.check_known(model.tokenizer, text)
    ids = tokenizer.prompt_ids(model.tokenizer, text)
    if len(ids) > (context := model.model.config.context):
        raise UserError(
            f"the text has {len(ids) - 1} words; the model's context holds {context - 1} and the begin token"
        )
    return [*ids, tokenizer.END_ID] if whole else ids


@torch.inference_mode()
def read(model: Saved, ids: list[int], top: int) -> Reading:
    """Return how surprising each token of a text was.

    Args:
        model: who reads.
        ids: the text, from the begin token on; at least one token follows it.
        top: how many alternatives to name for each.
    """
    tokens_1T = torch.tensor([ids])
    log_p_TV = model.model(tokens_1T[:, :-1])[0].float().log_softmax(-1)
    surprisal_T = -log_p_TV.gather(1, tokens_1T[0, 1:, None])[:, 0]
    found = []
    for token, surprisal, log_p_V in zip(ids[1:], surprisal_T.tolist(), log_p_TV, strict=True):
        best = log_p_V.topk(min(top + 1, len(log_p_V)))
        others = [
            Alternative(name(model, other), math.exp(log_p), -log_p)
            for log_p, other in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            if other != token
        ]
        rank = 1 + int((log_p_V > log_p_V[token]).sum())
        found.append(Surprise(name(model, token), math.exp(-surprisal), surprisal, rank, others[:top]))
    mean = surprisal_T.double().mean().item()
    return Reading(found, mean, math.exp(mean))


def name(model: Saved, token: int) -> str:
    """Return how a token is written."""
    written = model.tokenizer.id_to_token(token)
    assert written is not None, f"token {token} of a vocabulary of {model.model.vocabulary}"
    return written
