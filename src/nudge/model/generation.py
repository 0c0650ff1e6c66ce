"""Answers: the most probable continuation, and the best few with their probabilities."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nudge.model.decoder import Decoder

BEAM = 16


class Continuation(NamedTuple):
    """Tokens that the model puts after a prompt, without the end token.

    Attributes:
        ids: token ids.
        log_probability: natural logarithm of the probability of exactly this, end token included.
        ended: False if there was no more room, or the limit was reached, before the model ended.
    """

    ids: tuple[int, ...]
    log_probability: float
    ended: bool


@torch.inference_mode()
def greedy(
    model: Decoder, prompts: Sequence[Sequence[int]], end: int, max_new: int | None = None
) -> list[Continuation]:
    """Continue each prompt with the most probable token, one after the other.

    A text stops at `end`, with the token that follows a full context, or after `max_new` tokens, `end` among them.
    Prompts of one length are continued together, so that nothing needs padding and a batch answers as one alone.
    """
    answers: list[Continuation | None] = [None] * len(prompts)
    for length in sorted({len(prompt) for prompt in prompts}):
        where = [index for index, prompt in enumerate(prompts) if len(prompt) == length]
        tokens_BT = torch.tensor([list(prompts[index]) for index in where], device=model.device)
        for index, answer in zip(where, _greedy_of_equal_length(model, tokens_BT, end, max_new), strict=True):
            answers[index] = answer
    return [answer for answer in answers if answer is not None]


def _greedy_of_equal_length(model: Decoder, tokens_BT: Tensor, end: int, max_new: int | None) -> list[Continuation]:
    prompt_length = tokens_BT.shape[1]
    longest = min(_longest(model), prompt_length + (max_new or _longest(model)))
    running_B = torch.ones_like(tokens_BT[:, 0], dtype=torch.bool)
    log_p_B = torch.zeros_like(running_B, dtype=torch.float32)
    while running_B.any() and tokens_BT.shape[1] < longest:
        best_B = model(tokens_BT[running_B])[:, -1].float().log_softmax(-1).max(-1)
        chosen_B = torch.full_like(tokens_BT[:, 0], end)
        chosen_B[running_B] = best_B.indices
        log_p_B[running_B] += best_B.values
        tokens_BT = torch.cat((tokens_BT, chosen_B[:, None]), dim=1)
        running_B &= chosen_B != end
    rows = tokens_BT[:, prompt_length:].tolist()
    ends = [row.index(end) if end in row else len(row) for row in rows]
    return [
        Continuation(tuple(row[:stop]), log_p, stop < len(row))
        for row, stop, log_p in zip(rows, ends, log_p_B.tolist(), strict=True)
    ]


def _longest(model: Decoder) -> int:
    """Return how many tokens a text can have: the one after a full context is predicted, but never read."""
    return model.config.context + 1


@torch.inference_mode()
def most_probable(model: Decoder, prompt: Sequence[int], count: int, end: int) -> list[Continuation]:
    """Return the `count` most probable whole continuations of a prompt, best first, by beam search.

    The search ends when no unfinished text can overtake: a longer text is never more probable than its beginning. It
    is exact unless more than `BEAM` beginnings were better than the true best one at some length, as in a model
    that knows nothing yet.
    """
    width = max(count, BEAM)
    open_: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    found: list[Continuation] = []
    while open_:
        tokens_BT = torch.tensor([[*prompt, *ids] for _, ids in open_], device=model.device)
        log_p_B1 = torch.tensor([[log_p] for log_p, _ in open_], device=model.device)
        log_p_BV = model(tokens_BT)[:, -1].float().log_softmax(-1) + log_p_B1
        best = log_p_BV.flatten().topk(min(2 * width, log_p_BV.numel()))
        beginnings, open_ = open_, []
        for log_p, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            row, token = divmod(place, log_p_BV.shape[1])
            ids = beginnings[row][1]
            if token == end:
                found.append(Continuation(ids, log_p, ended=True))
            elif len(prompt) + len(ids) + 1 >= _longest(model):
                found.append(Continuation((*ids, token), log_p, ended=False))
            else:
                open_.append((log_p, (*ids, token)))
        found = sorted(found, key=lambda answer: -answer.log_probability)[:count]
        worst = found[-1].log_probability if len(found) == count else -math.inf
        open_ = [(log_p, ids) for log_p, ids in open_[:width] if log_p > worst]
    return found
