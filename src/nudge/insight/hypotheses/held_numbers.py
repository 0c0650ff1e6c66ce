"""Where a model holds numbers: the embeddings of the number words, and the states of numbers in the residual stream.

In this vocabulary a number is one or two words. The words are kept within their classes, since classes stand in
different places of a sentence, which alone would set them apart. A composed number is the state at its last word.

Shape suffixes: B questions, T positions, N numbers, W width, S places of the stream.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nudge.data import numbers
from nudge.insight.hypotheses.asking import Asking
from nudge.insight.questions import Questions
from nudge.model.internals import trace
from nudge.model.saved import Saved

CLASSES = {"ones": range(10), "teens": range(10, 20), "tens": range(20, 100, 10)}
OPERANDS = ("left", "right")
PARTNERS = 16  # left operands that the state of a right one is averaged over
FEWEST = 4  # words in a class: three have an order by chance in one case of three

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Held:
    """Numbers with their vectors.

    Attributes:
        numbers_N: the numbers, in order.
        ids_N: their tokens; empty for composed numbers.
        vectors_NW: one vector each.
    """

    numbers_N: Ints
    ids_N: Ints
    vectors_NW: Floats


def words(saved: Saved, questions: Questions) -> dict[str, Held]:
    """Return the embeddings of the number words of operands, by class; classes of few words are left out."""
    vocabulary = saved.tokenizer.get_vocab()
    operand_BT = questions.has("left") | questions.has("right")
    used = set(questions.tokens_BT[operand_BT].tolist())
    embeddings_VW = saved.model.model.embed_tokens.weight.detach().double().cpu().numpy()
    found = {}
    for name, members in CLASSES.items():
        kept = [number for number in members if vocabulary.get(numbers.words(number)) in used]
        if len(kept) >= FEWEST:
            ids_N = np.array([vocabulary[numbers.words(number)] for number in kept])
            found[name] = Held(np.array(kept), ids_N, embeddings_VW[ids_N])
    return found


@torch.inference_mode()
def composed(saved: Saved, questions: Questions) -> dict[str, dict[int, Held]]:
    """Return the states of the numbers below 100 as left and as right operand, by place of the stream.

    The places are those before each layer and the one after the last. The state of a left operand depends on nothing
    but itself, since a model sees only what came before. That of a right one is the mean over questions with the same
    few left operands for each, evenly spaced. All are questions of one operation, the first of `questions`: the numbers
    are its operands, and their partners need not stand beside them there.
    """
    operation, asking = questions.rows[0]["operation"], Asking(questions)
    operands_B = np.concatenate(
        [questions.column(side)[questions.column("operation") == operation] for side in OPERANDS]
    )
    numbers_N = np.unique(operands_B[operands_B < 100])
    chosen = np.linspace(0, len(numbers_N) - 1, min(PARTNERS, len(numbers_N))).round().astype(int)
    pairs = {
        "left": [(number, number) for number in numbers_N.tolist()],
        "right": [(partner, number) for partner in numbers_N[chosen].tolist() for number in numbers_N.tolist()],
    }
    places = range(0, 2 * saved.model.config.layers + 1, 2)
    found = {}
    for side, of_side in pairs.items():
        rows = filter(None, (asking.row(operation, left, right) for left, right in of_side))
        shown = Questions.of(saved.tokenizer, list(rows))
        of_B = shown.column(side)
        numbers_N = np.unique(of_B)
        mean_NB = (of_B == numbers_N[:, None]) / (of_B == numbers_N[:, None]).sum(1, keepdims=True)
        streams = [(batch, trace(saved.model, batch.tokens_BT).stream) for batch in shown.batches()]
        found[side] = {
            place: Held(
                numbers_N,
                np.zeros(0, dtype=np.int64),
                mean_NB
                @ torch.cat([at_last_word(stream[place], batch, side) for batch, stream in streams])
                .double()
                .cpu()
                .numpy(),
            )
            for place in places
        }
    return found


def last_word(questions: Questions, side: str) -> Tensor:
    """Return the position of an operand's last word, [B]."""
    place_T = torch.arange(questions.tokens_BT.shape[1])
    return (questions.has(side) * place_T).argmax(1)


def at_last_word(states_BTW: Tensor, questions: Questions, side: str) -> Tensor:
    """Return the states at an operand's last word, [B, W]."""
    return states_BTW[torch.arange(len(questions)), last_word(questions, side)]
