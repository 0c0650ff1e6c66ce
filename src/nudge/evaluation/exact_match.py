"""How many questions a model answers exactly, by greedy decoding."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch

from nudge.data.tokenizer import END_ID, PAD_ID, prompt_ids
from nudge.model.sampling import greedy
from nudge.model.saved import Saved
from nudge.training.losses import cross_entropy_sum

BATCH = 512


@dataclass(frozen=True)
class Answered:
    """One question, what was answered, and what would have been right.

    Attributes:
        document: the row of the curated table.
        given: the model's answer; "" if it gave none.
        log_probability: of that answer, natural logarithm.
        ended: whether the model ended there by itself.
        right: whether it is exactly the document's answer.
    """

    document: dict[str, Any]
    given: str
    log_probability: float
    ended: bool
    right: bool


def answer_all(saved: Saved, documents: list[dict[str, Any]]) -> list[Answered]:
    """Ask every document's question; documents without a question are left out."""
    asked = [document for document in documents if document["prompt"] is not None]
    prompts = [prompt_ids(saved.tokenizer, document["prompt"]) for document in asked]
    texts = [saved.tokenizer.encode(document["text"]).ids for document in asked]
    # One token more than any right answer: longer ones are wrong whatever comes.
    longest = max((len(text) - len(prompt) for text, prompt in zip(texts, prompts, strict=True)), default=0)
    return [
        Answered(
            document,
            saved.tokenizer.decode(list(answer.ids)),
            answer.log_probability,
            answer.ended,
            answer.ended and [*prompt, *answer.ids, END_ID] == text,
        )
        for document, prompt, text, answer in zip(
            asked, prompts, texts, greedy(saved.model, prompts, END_ID, longest + 1), strict=True
        )
    ]


@torch.inference_mode()
def loss(saved: Saved, documents: list[dict[str, Any]]) -> float:
    """Return the mean surprisal of the documents' tokens, in nats per token."""
    rows = [torch.tensor(encoding.ids) for encoding in saved.tokenizer.encode_batch([d["text"] for d in documents])]
    rows.sort(key=len)  # texts of about one length share a batch, so that little is padded
    total, targets = 0.0, 0
    for first in range(0, len(rows), BATCH):
        tokens_BT = torch.nn.utils.rnn.pad_sequence(rows[first : first + BATCH], batch_first=True, padding_value=PAD_ID)
        logits_BTV = saved.model(tokens_BT[:, :-1])
        targets_BT = tokens_BT[:, 1:]
        total += cross_entropy_sum(logits_BTV, targets_BT).item()
        targets += int((targets_BT != PAD_ID).sum())
    return total / targets


def score(saved: Saved, documents: list[dict[str, Any]]) -> tuple[dict[str, Any], list[Answered]]:
    """Return `{"exact_match", "loss", "count", "by_operation"}` over documents, and every answer."""
    answers = answer_all(saved, documents)
    by_operation: dict[str, list[bool]] = defaultdict(list)
    for answer in answers:
        if answer.document["operation"] is not None:
            by_operation[answer.document["operation"]].append(answer.right)
    return {
        "exact_match": _share([answer.right for answer in answers]),
        "loss": loss(saved, documents),
        "count": len(answers),
        "by_operation": {
            name: {"exact_match": _share(right), "count": len(right)} for name, right in by_operation.items()
        },
    }, answers


def by_source(saved: Saved, documents: list[dict[str, Any]], answers: list[Answered]) -> dict[str, dict[str, Any]]:
    """Return `{source: {"loss", "documents", "exact_match", "count"}}`."""
    right: dict[str, list[bool]] = defaultdict(list)
    for answer in answers:
        right[answer.document["source"]].append(answer.right)
    members: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for document in documents:
        members[document["source"]].append(document)
    return {
        name: {
            "loss": loss(saved, rows),
            "documents": len(rows),
            "exact_match": _share(right[name]),
            "count": len(right[name]),
        }
        for name, rows in sorted(members.items())
    }


def _share(right: list[bool]) -> float | None:
    return sum(right) / len(right) if right else None
