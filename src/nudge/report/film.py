"""The snapshots as a film: one sentence's prediction, surprise and attention, and the map of words, at each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from nudge.data import numbers
from nudge.data.tokenizer import END_ID
from nudge.model.internals import Trace, surprisals, trace
from nudge.model.saved import Saved

TOP = 5  # words of a prediction


@dataclass(frozen=True)
class Frame:
    """One snapshot.

    Attributes:
        step: optimiser steps before it.
        top: the most probable words after the question, with their probabilities.
        surprisal: nats at each word of the sentence but the begin token.
        pattern_LHTT: who looks at whom, for each layer and head.
        p_answer: probability of the right answer's first word.
    """

    step: int
    top: Sequence[tuple[str, float]]
    surprisal: Sequence[float]
    pattern_LHTT: NDArray[np.float32]
    p_answer: float


@torch.inference_mode()
def frames(snapshots: Sequence[tuple[int, Saved]], text: str, prompt_length: int) -> list[Frame]:
    """Show a sentence to each snapshot.

    Args:
        snapshots: step and model.
        text: the sentence.
        prompt_length: how many of its tokens ask, the begin token included.
    """
    film = []
    for step, model in snapshots:
        tokens_BT = torch.tensor([model.tokenizer.encode(text).ids])
        seen: Trace = trace(model.model, tokens_BT)
        p_V = seen.logits_BTV[0, prompt_length - 1].softmax(-1)
        best = p_V.topk(min(TOP, len(p_V)))
        film.append(
            Frame(
                step,
                [
                    (_said(model, number), p)
                    for number, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)
                ],
                surprisals(seen.logits_BTV, tokens_BT)[0].tolist(),
                torch.stack([pattern[0] for pattern in seen.pattern]).numpy(),
                float(p_V[tokens_BT[0, prompt_length]]),
            )
        )
    return film


def _said(model: Saved, number: int) -> str:
    return "(end)" if number == END_ID else str(model.tokenizer.id_to_token(number))


@dataclass(frozen=True)
class NumberMap:
    """Words for numbers as points of a plane that is the same for all snapshots.

    Attributes:
        words: what each point is.
        values: the number that it says.
        xy_SN2: where it is, for each snapshot.
        explained: the share of all variance, over words and snapshots, that lies in this plane.
    """

    words: Sequence[str]
    values: Sequence[int]
    xy_SN2: NDArray[np.float64]
    explained: float


def number_map(snapshots: Sequence[tuple[int, Saved]]) -> NumberMap | None:
    """Project the embeddings of all number words of all snapshots onto their two main directions.

    The directions (principal components, Pearson 1901) are those of all snapshots together: between two pictures the
    words move, not the plane.

    Returns:
        None if the vocabulary has fewer than three number words.
    """
    vocabulary: Mapping[str, int] = snapshots[0][1].tokenizer.get_vocab()
    named = {word: numbers.parse(word) for word in vocabulary}
    known = sorted((value, word) for word, value in named.items() if value is not None)
    if len(known) < 3:
        return None
    ids = [vocabulary[word] for _, word in known]
    embedded_SND = np.stack([model.model.model.embed_tokens.weight[ids].detach().numpy() for _, model in snapshots])
    flat_MD = embedded_SND.reshape(-1, embedded_SND.shape[-1]).astype(np.float64)
    plane = PCA(2, svd_solver="full").fit(flat_MD)
    xy_SN2: NDArray[Any] = plane.transform(flat_MD).reshape(*embedded_SND.shape[:2], 2)
    return NumberMap(
        [word for _, word in known],
        [value for value, _ in known],
        xy_SN2,
        float(plane.explained_variance_ratio_.sum()),
    )
