"""Batches of documents: which ones stand in which optimiser step is a pure function of seed and step."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from nudge.config.stages import LossOn
from nudge.data.tokenizer import PAD_ID
from nudge.data.tokens import Tokens


class Batch(TypedDict):
    """Documents packed into rows, several in one.

    Attributes:
        inputs: token ids, [B, T], int64; rows are filled up with padding.
        targets: the token after each input in the same document, [B, T]; padding where there is none, or where it
            counts nothing.
        positions: where in its document the target stands, [B, T].
        documents: which document of the split a position belongs to, [B, T]; −1 for padding.
        targets_in_step: count of targets in the whole optimiser step, over all devices and micro-batches.
    """

    inputs: Tensor
    targets: Tensor
    positions: Tensor
    documents: Tensor
    targets_in_step: int


def first_targets(tokens: Tokens, loss_on: LossOn) -> NDArray[np.int64]:
    """Return where in each document the first token stands that counts in the loss, [documents].

    "document": the one after the begin token; "answer": the first of the answer, and in a document that asks nothing
    the same as before.
    """
    return np.maximum(tokens.answers, 1) if loss_on == "answer" else np.ones(len(tokens), np.int64)


class Order:
    """Which items stand in the batch of an optimiser step: all in a new random order each epoch.

    A pure function of seed and step; a batch may reach into the next epoch.

    Args:
        items: what one epoch holds; an item may stand in it several times.
        batch_size: items per optimiser step.
        seed: chooses the orders.
    """

    def __init__(self, items: NDArray[np.int64], batch_size: int, seed: int) -> None:
        self.items, self.batch_size, self.seed = items, batch_size, seed
        self._orders: dict[int, NDArray[np.int64]] = {}

    def of_step(self, step: int) -> NDArray[np.int64]:
        """Return the items of optimiser step `step`, counted from 0, [batch_size]."""
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, within = np.divmod(places, len(self.items))
        orders = {epoch: self._order(epoch) for epoch in np.unique(epochs).tolist()}
        self._orders = orders  # the next step mostly needs the same
        return np.array([orders[epoch][place] for epoch, place in zip(epochs, within, strict=True)])

    def seen(self, steps: int) -> NDArray[np.int64]:
        """Return how often each item, by its number, was in a batch of the first `steps` optimiser steps."""
        epochs, rest = divmod(steps * self.batch_size, len(self.items))
        count = int(self.items.max()) + 1
        partly = np.bincount(self._order(epochs)[:rest], minlength=count)
        return epochs * np.bincount(self.items, minlength=count) + partly

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch in self._orders:
            return self._orders[epoch]
        return self.items[np.random.default_rng((self.seed, epoch)).permutation(len(self.items))]


class ShuffledBatches(IterableDataset[Batch]):
    """Endless training batches, in the order that `Order` gives.

    Every process computes the same global batch of `batch_size` documents and takes its own part, so that the
    division among devices and micro-batches changes nothing about the optimisation.

    Args:
        tokens: the training split.
        context: positions in a row.
        batch_size: documents per optimiser step.
        accumulate: micro-batches per optimiser step.
        seed: chooses the orders.
        rank, world_size: this process among all.
        first_step: optimiser step that the first batch belongs to, counted from 0.
        loss_on: which tokens are targets.
        documents: which documents an epoch holds, and how often; None: each once.
    """

    def __init__(
        self,
        tokens: Tokens,
        context: int,
        batch_size: int,
        accumulate: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        first_step: int = 0,
        loss_on: LossOn = "document",
        documents: NDArray[np.int64] | None = None,
    ) -> None:
        self.tokens, self.context = tokens, context
        self._firsts = first_targets(tokens, loss_on)
        self.accumulate = accumulate
        self.rank, self.world_size, self.first_step = rank, world_size, first_step
        self.order = Order(np.arange(len(tokens)) if documents is None else documents, batch_size, seed)

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        micro = self.first_step * self.accumulate + first
        while True:
            step, part = divmod(micro, self.accumulate)
            documents = self.order.of_step(step)
            ends = self.tokens.starts[documents + 1] - self.tokens.starts[documents]
            targets = int((ends - self._firsts[documents]).sum())
            own = documents[self.rank + self.world_size * part :: self.world_size * self.accumulate]
            yield packed(self.tokens, own, self.context, targets, self._firsts[own])
            micro += stride


class HeldOutBatches(IterableDataset[Batch]):
    """Each document of a split once, in order, divided among processes without repeats."""

    def __init__(
        self,
        tokens: Tokens,
        context: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        loss_on: LossOn = "document",
    ) -> None:
        self.tokens, self.context, self.batch_size = tokens, context, batch_size
        self.rank, self.world_size = rank, world_size
        self._firsts = first_targets(tokens, loss_on)

    def __iter__(self) -> Iterator[Batch]:
        own = np.arange(self.rank, len(self.tokens), self.world_size)
        for first in range(0, len(own), self.batch_size):
            documents = own[first : first + self.batch_size]
            firsts = self._firsts[documents]
            targets = int((self.tokens.lengths[documents] - firsts).sum())
            yield packed(self.tokens, documents, self.context, targets, firsts)


def packed(
    tokens: Tokens,
    documents: NDArray[np.int64],
    context: int,
    targets_in_step: int,
    firsts: NDArray[np.int64] | None = None,
) -> Batch:
    """Pack documents into rows of `context` positions, none across two rows.

    A document of n tokens takes n − 1 positions: nothing follows its last token. Where it stands is decided by
    best fit, longest first: in the fullest row that has room (Johnson 1974), which leaves little padding.

    Args:
        tokens: the split.
        documents: which of them to pack.
        context: positions in a row.
        targets_in_step: see `Batch`.
        firsts: where in each of `documents` the first token stands that is a target; None: all but the begin token.
    """
    lengths = tokens.starts[documents + 1] - tokens.starts[documents] - 1
    rows, columns, count = _best_fit(lengths.tolist(), context)
    # For every target: which of the documents it belongs to, and where in it it stands.
    owner = np.repeat(np.arange(len(documents)), lengths)
    position = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    at = (rows[owner], columns[owner] + position - 1)
    source = tokens.starts[documents][owner] + position
    targets = tokens.ids[source]
    if firsts is not None:
        targets = np.where(position < firsts[owner], PAD_ID, targets)
    arrays = [np.full((count, context), fill, np.int64) for fill in (PAD_ID, PAD_ID, 0, -1)]
    for array, values in zip(arrays, (tokens.ids[source - 1], targets, position, documents[owner]), strict=True):
        array[at] = values
    inputs_BT, targets_BT, positions_BT, owners_BT = (torch.from_numpy(array) for array in arrays)
    return {
        "inputs": inputs_BT,
        "targets": targets_BT,
        "positions": positions_BT,
        "documents": owners_BT,
        "targets_in_step": targets_in_step,
    }


def _best_fit(lengths: list[int], context: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return for each length the row and the column where it begins, and the count of rows."""
    open_rows: list[list[int]] = [[] for _ in range(context + 1)]  # by room left
    rows, columns = np.empty((2, len(lengths)), np.int64)
    count = 0
    # Longest first: what is short fills the gaps.
    for document in sorted(range(len(lengths)), key=lambda document: -lengths[document]):
        length = lengths[document]
        room = next((room for room in range(length, context + 1) if open_rows[room]), None)
        if room is None:
            row, room, count = count, context, count + 1
        else:
            row = open_rows[room].pop()
        open_rows[room - length].append(row)
        rows[document], columns[document] = row, context - room
    return rows, columns, count


def loader(dataset: IterableDataset[Any], num_workers: int, pin: bool) -> DataLoader[Any]:
    """Wrap batches for a Trainer; batches come in the same order with any number of workers."""
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=num_workers,
        pin_memory=pin,
        persistent_workers=num_workers > 0,
        worker_init_fn=leave_signals_to_the_run,
    )


def leave_signals_to_the_run(worker: int) -> None:
    """Let a loader worker outlive Ctrl-C and SIGTERM, which reach it too: the run needs it to finish its step.

    A SIGTERM from the run itself ends it: a worker that waits for a lock of one that was killed ends in no other way.
    """
    signal.set_wakeup_fd(-1)  # inherited from the run, which would take a signal to this process for its own
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_when_the_run_says_so, daemon=True).start()
    else:  # where a process can't tell who sent a signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _end_when_the_run_says_so() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)  # as torch's own handler does: any other code counts as a death of its own
