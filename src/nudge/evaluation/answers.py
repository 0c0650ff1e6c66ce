"""How surprising a model finds the known answer of each question: computed once, used by every measure of memory."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nudge.data.tokenizer import SPECIAL
from nudge.model.saved import Saved

BATCH = 512


@dataclass(frozen=True)
class Scored:
    """Questions with what a model makes of their known answers.

    Attributes:
        rows: the documents.
        surprisal_N: −ln p(answer | question) in nats, of the whole answer, its end included.
        right_N: whether greedy decoding gives exactly that answer and ends.
    """

    rows: list[dict[str, Any]]
    surprisal_N: NDArray[np.float64]
    right_N: NDArray[np.bool_]

    def where(self, kept: Sequence[bool] | NDArray[np.bool_]) -> "Scored":
        """Return those for which `kept` is true."""
        kept_N = np.asarray(kept, dtype=bool)
        rows = [row for row, is_kept in zip(self.rows, kept_N, strict=True) if is_kept]
        return Scored(rows, self.surprisal_N[kept_N], self.right_N[kept_N])

    def with_more(self, other: "Scored") -> "Scored":
        """Return these, then others."""
        return Scored(
            [*self.rows, *other.rows],
            np.concatenate((self.surprisal_N, other.surprisal_N)),
            np.concatenate((self.right_N, other.right_N)),
        )

    def column(self, name: str) -> list[Any]:
        """Return one column of the documents."""
        return [row[name] for row in self.rows]


@torch.inference_mode()
def score(saved: Saved, rows: list[dict[str, Any]]) -> Scored:
    """Score every document that asks a question, in one pass over its known text.

    If the right token is the most probable one at each place of the answer, greedy decoding never leaves it; so this
    counts as right exactly what `exact_match.answer_all` does, without its limit on the length of an answer. Texts of
    one length share a batch, so nothing is padded.

    Args:
        rows: documents whose words the model knows and that fit into its context.
    """
    rows = [row for row in rows if row["prompt"] is not None]
    texts = [encoding.ids for encoding in saved.tokenizer.encode_batch([row["text"] for row in rows])]
    prompts = saved.tokenizer.encode_batch([row["prompt"] for row in rows], add_special_tokens=False)
    # The question is the begin token and its words; the token before an answer's first is what predicts it.
    first_N = torch.tensor([len(prompt.ids) for prompt in prompts])
    surprisal_N = np.zeros(len(rows))
    right_N = np.zeros(len(rows), dtype=bool)
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, text in enumerate(texts):
        by_length[len(text)].append(place)
    for places in by_length.values():
        for start in range(0, len(places), BATCH):
            chosen = places[start : start + BATCH]
            tokens_BT = torch.tensor([texts[place] for place in chosen], device=saved.model.device)
            log_p_BTV = saved.model(tokens_BT[:, :-1]).float().log_softmax(-1)
            targets_BT = tokens_BT[:, 1:]
            asked_BT = torch.arange(targets_BT.shape[1]) >= first_N[chosen, None]
            asked_BT = asked_BT.to(targets_BT.device)
            log_p_BT = log_p_BTV.gather(-1, targets_BT[..., None])[..., 0]
            surprisal_N[chosen] = -(log_p_BT * asked_BT).double().sum(-1).cpu().numpy()
            right_N[chosen] = ((log_p_BTV.argmax(-1) == targets_BT) | ~asked_BT).all(-1).cpu().numpy()
    return Scored(rows, surprisal_N, right_N)


def sayable(saved: Saved) -> Callable[[dict[str, Any]], bool]:
    """Return a function that says of a document whether a model knows its words and has room for it in its context."""
    known = set(saved.tokenizer.get_vocab()) - set(SPECIAL)
    longest = saved.model.config.context - 1  # the begin token; the end is only predicted
    split = saved.tokenizer.pre_tokenizer
    assert split is not None

    def is_sayable(row: dict[str, Any]) -> bool:
        words = [word for word, _ in split.pre_tokenize_str(row["text"])]
        return len(words) <= longest and known.issuperset(words)

    return is_sayable
