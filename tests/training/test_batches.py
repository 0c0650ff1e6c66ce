"""Which documents stand in a batch depends on seed and step alone; packing loses and mixes nothing."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from nudge.data.tokens import Tokens
from nudge.training.batches import Batch, HeldOutBatches, ShuffledBatches, loader, packed

CONTEXT = 32


@pytest.fixture(scope="module")
def tokens(small_project: Path) -> Tokens:
    return Tokens.open(small_project / "corpus/tokens/validation")


def pairs(batch: Batch, tokens: Tokens) -> Counter[tuple[int, int, int, int]]:
    """Return (document, position, input, target) of every prediction in a batch."""
    keys = ("documents", "positions", "inputs", "targets")
    values = np.stack([batch[key].flatten().numpy() for key in keys], axis=1)  # type: ignore[literal-required]
    return Counter(map(tuple, values[values[:, 0] >= 0].tolist()))


def expected_pairs(documents: list[int], tokens: Tokens) -> Counter[tuple[int, int, int, int]]:
    result: Counter[tuple[int, int, int, int]] = Counter()
    for document in documents:
        ids = tokens.ids[tokens.starts[document] : tokens.starts[document + 1]].tolist()
        result.update((document, at, ids[at - 1], ids[at]) for at in range(1, len(ids)))
    return result


def test_packing_keeps_every_prediction_once_and_no_other(tokens: Tokens) -> None:
    documents = np.arange(300)
    batch = packed(tokens, documents, CONTEXT, 0)
    assert pairs(batch, tokens) == expected_pairs(documents.tolist(), tokens)
    filled = (batch["documents"] >= 0).float().mean().item()
    assert filled > 0.9, "packing leaves too much padding"


def test_a_document_that_just_fits_fills_its_row() -> None:
    # Off by one at the edge of the context crashes, or drops the last token (nanoGPT PR#292).
    tokens = Tokens(np.arange(3, 8, dtype=np.uint16), np.array([0, 5]), np.array([2]))
    batch = packed(tokens, np.array([0]), 4, 4)
    assert batch["inputs"].tolist() == [[3, 4, 5, 6]]
    assert batch["targets"].tolist() == [[4, 5, 6, 7]]


def test_each_document_comes_once_an_epoch_in_another_order(tokens: Tokens) -> None:
    batches = ShuffledBatches(tokens, CONTEXT, 100, 1, seed=3)
    seen = np.concatenate([batches.order.of_step(step) for step in range(2 * len(tokens) // 100 + 1)])
    first, second = seen[: len(tokens)], seen[len(tokens) : 2 * len(tokens)]
    assert sorted(first) == sorted(second) == list(range(len(tokens)))
    assert (first != second).mean() > 0.9
    other = ShuffledBatches(tokens, CONTEXT, 100, 1, seed=4)
    assert (other.order.of_step(0) != first[:100]).mean() > 0.9


def test_batches_are_the_same_again_and_from_the_middle(tokens: Tokens) -> None:
    one, two = (ShuffledBatches(tokens, CONTEXT, 100, 1, seed=3) for _ in range(2))
    expected = [one.order.of_step(step) for step in range(40)]
    for step in (39, 7, 16, 17):
        assert (two.order.of_step(step) == expected[step]).all()


@pytest.mark.parametrize(("accumulate", "world_size"), [(4, 1), (1, 2), (2, 2)])
def test_micro_batches_and_processes_share_the_global_batch(tokens: Tokens, accumulate: int, world_size: int) -> None:
    # Training on 2 devices must be training on 1 device with the same global batch.
    whole = next(iter(ShuffledBatches(tokens, CONTEXT, 64, 1, seed=0)))
    parts: Counter[tuple[int, int, int, int]] = Counter()
    for rank in range(world_size):
        mine = iter(ShuffledBatches(tokens, CONTEXT, 64, accumulate, 0, rank, world_size))
        for batch in islice(mine, accumulate):
            assert batch["targets_in_step"] == whole["targets_in_step"]
            parts += pairs(batch, tokens)
    assert parts == pairs(whole, tokens)


def test_a_batch_larger_than_the_split_repeats_documents() -> None:
    # Dropping the incomplete batch of a small split used to leave zero batches and a "finished" run (nanodet #486).
    tokens = Tokens(np.arange(3, 12, dtype=np.uint16), np.array([0, 3, 6, 9]), np.zeros(3, np.int64))
    documents = ShuffledBatches(tokens, CONTEXT, 8, 1, seed=0).order.of_step(0)
    assert Counter(documents.tolist()).most_common(1)[0][1] == 3
    assert len(documents) == 8


def test_workers_give_the_batches_that_one_process_gives(tokens: Tokens) -> None:
    # Workers that draw the same random numbers give every batch twice (pytorch #5059).
    batches = ShuffledBatches(tokens, CONTEXT, 64, 2, seed=0)
    alone = [batch["documents"] for batch in islice(loader(batches, 0, pin=False), 7)]
    workers = loader(batches, 2, pin=False)
    for expected, batch in zip(alone, islice(workers, 7), strict=True):
        assert (batch["documents"] == expected).all()


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_each_held_out_document_is_counted_once(tokens: Tokens, world_size: int) -> None:
    # Padding the last batch by repeating samples makes scores depend on the number of devices (PL #4732).
    counted: Counter[tuple[int, int, int, int]] = Counter()
    targets = 0
    for rank in range(world_size):
        for batch in HeldOutBatches(tokens, CONTEXT, 100, rank, world_size):
            counted += pairs(batch, tokens)
            targets += batch["targets_in_step"]
    assert counted == expected_pairs(list(range(len(tokens))), tokens)
    assert targets == sum(counted.values())


def test_loss_on_the_answer_counts_its_tokens_alone_and_all_of_them(tokens: Tokens) -> None:
    # Dividing the answer's surprisal by the count of all tokens would make the loss, and the step, too small.
    documents = np.arange(100)
    batches = ShuffledBatches(tokens, CONTEXT, 100, 2, seed=0, loss_on="answer")
    for batch in islice(batches, 2):  # the two halves of one step
        counted = batch["targets"] != 0
        begins = torch.from_numpy(np.array(tokens.answers))[batch["documents"]]
        assert (counted == ((batch["documents"] >= 0) & (batch["positions"] >= begins))).all()
        assert (batch["inputs"][batch["documents"] >= 0] != 0).all(), "the question must still be read"
    halves = list(islice(batches, 2))
    assert sum(int((half["targets"] != 0).sum()) for half in halves) == halves[0]["targets_in_step"]
    held = next(iter(HeldOutBatches(tokens, CONTEXT, 100, loss_on="answer")))
    assert held["targets_in_step"] == int((held["targets"] != 0).sum())
    assert held["targets_in_step"] == int((tokens.lengths - tokens.answers)[documents].sum())


def test_a_document_that_asks_nothing_counts_whole(tokens: Tokens) -> None:
    plain = Tokens(tokens.ids, tokens.starts, np.zeros_like(tokens.answers))
    whole, same = (next(iter(HeldOutBatches(plain, CONTEXT, 50, loss_on=on))) for on in ("document", "answer"))  # type: ignore[arg-type]
    assert (whole["targets"] == same["targets"]).all()
    assert whole["targets_in_step"] == same["targets_in_step"]
