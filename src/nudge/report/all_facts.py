"""What the model makes of every fact there is, computed beforehand and packed small enough to travel in the page."""

import base64
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nudge.data import documents
from nudge.data.arithmetic import OPERATIONS
from nudge.data.tokenizer import END_ID
from nudge.insight.questions import Questions, exact_match
from nudge.model.generation import greedy
from nudge.model.internals import trace
from nudge.model.saved import Saved

NATS_PER_UNIT = 1 / 16  # of a stored surprise; a byte of them reaches 15.9 nats, a chance of one in eight million
HELD_OUT = "held out"  # said in place of a split, of facts that stand in none
SPLITS = (*documents.SPLITS, HELD_OUT)
MOST_HEADS = 8  # that are stored one by one; of more, the mean over the heads of each layer


@dataclass(frozen=True)
class AllFacts:
    """Every fact with its answer, in columns of N.

    Attributes:
        questions: the facts.
        given: what greedy decoding answers.
        probability_N: of exactly that answer, its end included.
        right_N: whether it is right.
        surprisal_NT: nats at each word of the true sentence but the begin token; 0 in the padding.
        attention_NHT: at the position that produces the answer's first word, where each head looks.
        heads: what the H rows of attention are called.
    """

    questions: Questions
    given: list[str]
    probability_N: NDArray[np.float64]
    right_N: NDArray[np.bool_]
    surprisal_NT: NDArray[np.float32]
    attention_NHT: NDArray[np.float32]
    heads: list[str]


@torch.inference_mode()
def compute(model: Saved, questions: Questions) -> AllFacts:
    """Ask all questions, in passes over their known texts; only what then turns out wrong is generated."""
    right, surprisal, attention, log_p = [], [], [], []
    asks, longest = int(questions.prompt_B.max()), questions.tokens_BT.shape[1]
    layers, heads = model.model.config.layers, model.model.config.heads
    apart = layers * heads <= MOST_HEADS
    for batch in questions.batches():
        seen = trace(model.model, batch.tokens_BT)
        right.append(exact_match(seen.logits_BTV, batch))
        nats_BT = -seen.logits_BTV.log_softmax(-1).gather(-1, batch.next_BT[..., None])[..., 0]
        nats_BT *= torch.arange(nats_BT.shape[1]) < batch.length_B[:, None] - 1
        log_p.append(-(nats_BT * batch.asked_BT).sum(-1))
        surprisal.append(torch.nn.functional.pad(nats_BT, (0, longest - nats_BT.shape[1]))[:, :-1])
        rows = torch.arange(len(batch))
        looks_LBHT = torch.stack([pattern[rows, :, batch.prompt_B - 1] for pattern in seen.pattern])
        looks_BLHT = looks_LBHT.transpose(0, 1)[..., :asks]
        looks_BHT = looks_BLHT.flatten(1, 2) if apart else looks_BLHT.mean(2)
        attention.append(torch.nn.functional.pad(looks_BHT, (0, asks - looks_BHT.shape[-1])))
    right_N, p_N = torch.cat(right).numpy(), torch.cat(log_p).double().exp().numpy()
    given = [str(row["text"]).removeprefix(row["prompt"]).strip() for row in questions.rows]
    wrong = np.flatnonzero(~right_N)
    prompts = [questions.tokens_BT[place, : questions.prompt_B[place]].tolist() for place in wrong]
    for place, answer in zip(wrong, greedy(model.model, prompts, END_ID, longest), strict=True):
        given[place] = model.tokenizer.decode(list(answer.ids), skip_special_tokens=False)
        p_N[place] = math.exp(answer.log_probability)
    names = [f"layer {layer}, head {head}" for layer in range(layers) for head in range(heads)]
    return AllFacts(
        questions,
        given,
        p_N,
        right_N,
        torch.cat(surprisal).numpy(),
        torch.cat(attention).numpy(),
        names if apart else [f"layer {layer}, mean of {heads} heads" for layer in range(layers)],
    )


def packed(facts: AllFacts, vocabulary: list[str]) -> dict[str, Any]:
    """Return the facts as JSON with base64: what the picker in the page unpacks (`templates/page.js`).

    Probabilities are kept to 1/65535, surprises to 1/16 nat and attention to 1/255.
    """
    rows = facts.questions.rows
    operations = [name for name in OPERATIONS if any(row["operation"] == name for row in rows)]
    answers = sorted(set(facts.given))
    place = {answer: number for number, answer in enumerate(answers)}
    keys_N3 = np.array([(operations.index(row["operation"]), row["left"], row["right"]) for row in rows], "<u2")
    tokens_NT = facts.questions.tokens_BT.numpy()
    splits_N = np.array([SPLITS.index(row["split"]) for row in rows], np.uint8)
    return {
        "count": len(rows),
        "operations": operations,
        "largest": int(keys_N3[:, 1:].max()),
        "words": vocabulary,
        "splits": list(SPLITS),
        "answers": answers,
        "heads": facts.heads,
        "length": tokens_NT.shape[1],
        "asks": facts.attention_NHT.shape[2],
        "nats": NATS_PER_UNIT,
        "keys": _base64(keys_N3),
        "tokens": _base64(tokens_NT.astype("<u2" if len(vocabulary) > 256 else np.uint8)),
        "prompt": _base64(facts.questions.prompt_B.numpy().astype(np.uint8)),
        "split": _base64(splits_N),
        "given": _base64(np.array([place[answer] for answer in facts.given], "<u2")),
        "right": _base64(facts.right_N.astype(np.uint8)),
        "probability": _base64(np.rint(facts.probability_N * 65535).astype("<u2")),
        "surprisal": _base64(np.clip(np.rint(facts.surprisal_NT / NATS_PER_UNIT), 0, 255).astype(np.uint8)),
        "attention": _base64(np.rint(facts.attention_NHT * 255).astype(np.uint8)),
    }


def _base64(column: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(column).tobytes()).decode()
