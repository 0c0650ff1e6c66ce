"""The record of learning: what a model knew at each snapshot, and from which step on it knew each single fact.

Shape suffixes: S snapshots, B facts of all splits together, T positions, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from nudge.data.files import replacing
from nudge.data.tokenizer import PAD_ID
from nudge.errors import UserError
from nudge.insight.questions import Questions, exact_match
from nudge.model import snapshots
from nudge.model.decoder import Decoder

BATCH = 512  # texts of about one length; larger ones leave the processor's cache
NEVER = np.inf  # the learning time of a fact that is wrong at the end

# One row a fact of every split, in the order of the documents.
SCHEMA = pa.schema(
    [
        pa.field("operation", pa.string(), nullable=False),
        pa.field("left", pa.int64(), nullable=False),
        pa.field("right", pa.int64(), nullable=False),
        pa.field("answer", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("carries", pa.bool_()),  # see `carries`
        pa.field("learned_at", pa.int64()),  # optimiser steps; null: wrong at the last snapshot
        pa.field("surprisal", pa.float64(), nullable=False),  # of the answer and its end at the last snapshot, nats
    ]
)


@dataclass(frozen=True)
class History:
    """What a model made of all facts at each of its snapshots.

    Attributes:
        steps: optimiser steps after which the snapshots were taken.
        rows: the documents.
        split_B: the split of each.
        right_SB: whether greedy decoding gives exactly its answer.
        answer_SB: surprisal of its answer, the end token included, in nats.
        text_SB: surprisal of its whole text, in nats.
        targets_B: count of tokens in its text that are to be predicted.
        weight_norm_S: L2 norm of all weights.
    """

    steps: list[int]
    rows: list[dict[str, Any]]
    split_B: NDArray[np.str_]
    right_SB: NDArray[np.bool_]
    answer_SB: NDArray[np.float32]
    text_SB: NDArray[np.float32]
    targets_B: NDArray[np.int64]
    weight_norm_S: list[float]

    @property
    def learned_at(self) -> NDArray[np.float64]:
        """Return the first snapshot's step from which each fact stays right to the end, [B]; `NEVER` if there is none.

        The true step lies between that snapshot and the one before it.
        """
        stays_SB = np.logical_and.accumulate(self.right_SB[::-1], axis=0)[::-1]
        steps_S1 = np.array(self.steps, dtype=np.float64)[:, None]
        return np.asarray(np.where(stays_SB, steps_S1, NEVER).min(axis=0))


def history(model_folder: Path, splits: Mapping[str, Sequence[dict[str, Any]]]) -> History:
    """Ask every snapshot of a model all facts.

    Args:
        model_folder: holds `snapshots/`.
        splits: curated documents; those that state no fact are left out.

    Raises:
        UserError: there are no snapshots, or no facts.
    """
    taken = list(snapshots.load_all(model_folder))
    words = taken[0][1].tokenizer
    parts = {name: Questions.of(words, documents) for name, documents in splits.items()}
    split_B = np.array([name for name, part in parts.items() for _ in part.rows])
    if not len(split_B):
        raise UserError(f"{model_folder}: its documents state no arithmetic facts, so there are none to follow")
    questions = Questions.of(words, [row for part in parts.values() for row in part.rows])
    order_B = np.argsort(questions.length_B.numpy(), kind="stable")
    batches = list(questions.where(order_B).batches(BATCH))
    back_B = np.argsort(order_B)
    seen = [_ask(saved.model, batches) for _, saved in taken]
    right_SB, answer_SB, text_SB = (np.stack(each)[:, back_B] for each in zip(*seen, strict=True))
    return History(
        [step for step, _ in taken],
        list(questions.rows),
        split_B,
        right_SB.astype(bool),
        answer_SB,
        text_SB,
        questions.length_B.numpy() - 1,
        [weight_norm(saved.model) for _, saved in taken],
    )


@torch.inference_mode()
def _ask(model: Decoder, batches: list[Questions]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return for each question whether it is answered, and the surprisal of its answer and of its text, [B] each."""
    seen = []
    for batch in batches:
        logits_BTV = model(batch.tokens_BT[:, :-1])  # nothing follows the last token
        targets_BT = batch.next_BT[:, :-1]
        surprisal_BT = F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), reduction="none").view_as(
            targets_BT
        )
        answer_B = (surprisal_BT * batch.asked_BT[:, :-1]).sum(1)
        text_B = (surprisal_BT * (targets_BT != PAD_ID)).sum(1)
        seen.append(torch.stack([exact_match(logits_BTV, batch).float(), answer_B, text_B]))
    right_B, answer_B, text_B = torch.cat(seen, 1).numpy()
    return right_B, answer_B, text_B


def weight_norm(model: Decoder) -> float:
    """Return the L2 norm of all weights together."""
    return float(torch.stack([weight.detach().double().square().sum() for weight in model.parameters()]).sum().sqrt())


def carries(row: dict[str, Any]) -> bool | None:
    """Say whether a sum's ones carry, a difference's ones borrow, or a modular sum wraps around; None of the others."""
    operation, left, right = row["operation"], row["left"], row["right"]
    if row["stratum"] == "modular sum":
        return bool(row["answer"] != left + right)
    if operation == "plus":
        return bool(left % 10 + right % 10 >= 10)
    return bool(left % 10 < right % 10) if operation == "minus" else None


def facts(past: History) -> pa.Table:
    """Return a table of all facts, with when each was learned and how surprising its answer is at the end."""
    learned = [None if step == NEVER else int(step) for step in past.learned_at]
    columns: dict[str, list[Any]] = {
        **{name: [row[name] for row in past.rows] for name in ("operation", "left", "right", "answer")},
        "split": past.split_B.tolist(),
        "carries": [carries(row) for row in past.rows],
        "learned_at": learned,
        "surprisal": past.answer_SB[-1].astype(np.float64).tolist(),
    }
    return pa.table(columns, schema=SCHEMA)


def write(table: pa.Table, path: Path) -> None:
    """Write `facts` as parquet."""
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
