"""Arithmetic questions as tensors: every position knows what stands there and whether it produces the answer.

Shape suffixes as in `model/decoder.py`: B questions, T positions, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from nudge.data import numbers
from nudge.data.tokenizer import PAD_ID, check_known
from nudge.errors import UserError
from nudge.model.decoder import Decoder

# What a position holds. "begin" is all that stands before the left operand, "operator" what stands between the
# operands, "equals" what stands between the right one and the answer.
ROLES = ("begin", "left", "operator", "right", "equals", "answer", "end", "padding")
BATCH = 2048  # questions in one pass: large enough to be fast, small enough for any memory


@dataclass(frozen=True)
class Questions:
    """Facts with their known answers, one a row, padded on the right.

    Attributes:
        rows: the curated documents.
        tokens_BT: token ids of the whole texts, from the begin token to the end token.
        role_BT: what each position holds, as an index into `ROLES`.
        word_BT: which word of its role a position holds, counted from 0: in "forty two" forty is 0 and two is 1.
        prompt_B: count of tokens that ask, the begin token included; so also the position of the answer's first token.
        length_B: count of all tokens.
        next_BT: the token after each position; padding after the last.
        asked_BT: whether a token of the answer or the end token comes next: all of these must be said right.
        produces_BT: whether a token of the answer comes next: the last token of the prompt, and the answer's own but
            the last, after which the end token comes.
    """

    rows: Sequence[dict[str, Any]]
    tokens_BT: Tensor
    role_BT: Tensor
    word_BT: Tensor
    prompt_B: Tensor
    length_B: Tensor
    next_BT: Tensor
    asked_BT: Tensor
    produces_BT: Tensor

    @staticmethod
    def of(tokenizer: Tokenizer, documents: Sequence[dict[str, Any]]) -> "Questions":
        """Turn curated documents into tensors; those that state no arithmetic fact are left out.

        Raises:
            UserError: a word is unknown to the tokenizer, or a prompt does not say first the left and then the right
                operand, so that it can't be told which position holds what.
        """
        rows = [row for row in documents if row["operation"] is not None and row["prompt"] is not None]
        known = set(tokenizer.get_vocab())
        for row in rows:
            if not known.issuperset(row["text"].split()):
                check_known(tokenizer, row["text"])
        texts = [encoding.ids for encoding in tokenizer.encode_batch([row["text"] for row in rows])]
        width = max(map(len, texts), default=1)
        tokens_BT = np.full((len(rows), width), PAD_ID)
        role_BT = np.full((len(rows), width), ROLES.index("padding"))
        word_BT = np.zeros((len(rows), width), dtype=np.int64)
        prompt_B = np.zeros(len(rows), dtype=np.int64)
        for place, (row, text) in enumerate(zip(rows, texts, strict=True)):
            counts = _counts(row, len(text))
            tokens_BT[place, : len(text)] = text
            role_BT[place, : len(text)] = np.repeat(np.arange(len(counts)), counts)
            word_BT[place, : len(text)] = np.concatenate([np.arange(count) for count in counts])
            prompt_B[place] = sum(counts[: ROLES.index("answer")])
        length_B = np.array([len(text) for text in texts], dtype=np.int64)
        place_T, from_B1, to_B1 = np.arange(width), prompt_B[:, None] - 1, length_B[:, None] - 2
        return Questions(
            rows,
            tokens_BT=torch.from_numpy(tokens_BT),
            role_BT=torch.from_numpy(role_BT),
            word_BT=torch.from_numpy(word_BT),
            prompt_B=torch.from_numpy(prompt_B),
            length_B=torch.from_numpy(length_B),
            next_BT=torch.from_numpy(np.pad(tokens_BT[:, 1:], ((0, 0), (0, 1)), constant_values=PAD_ID)),
            asked_BT=torch.from_numpy((place_T >= from_B1) & (place_T <= to_B1)),
            produces_BT=torch.from_numpy((place_T >= from_B1) & (place_T < to_B1)),
        )

    def __len__(self) -> int:
        """Count the questions."""
        return len(self.rows)

    def has(self, role: str) -> Tensor:
        """Say which positions hold a role, [B, T]."""
        return self.role_BT == ROLES.index(role)

    def column(self, name: str) -> NDArray[Any]:
        """Return one column of the documents, [B]."""
        return np.array([row[name] for row in self.rows])

    def where(self, chosen: NDArray[Any] | Sequence[int] | slice) -> "Questions":
        """Return the chosen questions (a mask, indices or a slice), without columns that only padding fills."""
        places = np.arange(len(self))[chosen]
        width = int(self.length_B[places].max()) if len(places) else 0
        tensors = {field.name: getattr(self, field.name)[places] for field in fields(self) if field.name != "rows"}
        return Questions(
            [self.rows[place] for place in places],
            **{name: tensor[:, :width] if tensor.dim() == 2 else tensor for name, tensor in tensors.items()},
        )

    def batches(self, size: int = BATCH) -> Iterator["Questions"]:
        """Yield all questions in order, at most `size` at a time."""
        for first in range(0, len(self), size):
            yield self.where(slice(first, first + size))


def _counts(row: dict[str, Any], length: int) -> list[int]:
    """Count the tokens of each of the `ROLES` but padding in a document of `length` tokens; a token is a word."""
    prompt = row["prompt"].split()
    # A number is said in words, or in digits as one token.
    left, right = (
        [str(row[side])] if str(row[side]) in prompt else numbers.words(row[side]).split() for side in ("left", "right")
    )
    ends = len(prompt) - len(left)
    first = next((at for at in range(ends + 1) if prompt[at : at + len(left)] == left), None)
    ends = len(prompt) - len(right)
    second = next((at for at in range(ends, -1, -1) if prompt[at : at + len(right)] == right), None)
    if first is None or second is None or second < first + len(left):
        raise UserError(
            f"source '{row['source']}', document {row['text']!r}: does not say '{' '.join(left)}' and then "
            f"'{' '.join(right)}', so the operands' positions are unknown; insight needs the left one first"
        )
    between, after = second - first - len(left), len(prompt) - second - len(right)
    return [1 + first, len(left), between, len(right), after, length - len(prompt) - 2, 1]


def exact_match(logits_BTV: Tensor, questions: Questions) -> Tensor:
    """Say for each question whether greedy decoding gives exactly its answer and stops, [B].

    If the most probable token is the right one at each position of the answer, greedy decoding never leaves it; so one
    pass over the known text decides it, and an intervention is scored in one pass too.

    Args:
        logits_BTV: what a model, changed or not, says after each of `questions.tokens_BT`; the last may be left out.
    """
    T = logits_BTV.shape[1]
    return ((logits_BTV.argmax(-1) == questions.next_BT[:, :T]) | ~questions.asked_BT[:, :T]).all(-1)


@torch.inference_mode()
def answered(model: Decoder, questions: Questions) -> Tensor:
    """Ask a model all questions; say which it answers exactly, [B]."""
    exact = [exact_match(model(batch.tokens_BT[:, :-1]), batch) for batch in questions.batches()]
    return torch.cat(exact) if exact else torch.zeros(0, dtype=torch.bool)
