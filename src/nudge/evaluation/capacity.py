"""How much a model has learned by heart, in bits: measured where nothing can be understood, on shuffled answers.

Shuffled answers (Zhang et al. 2017, arXiv:1611.03530) leave nothing to compute: whatever the model knows better than
how often each answer comes, it has stored (Morris et al. 2025, arXiv:2505.24832, measure capacity in this way on random
bits: the likelihood of the data under the model against that under the source).
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nudge.evaluation import answers, intervals
from nudge.evaluation.answers import Scored
from nudge.model.decoder import Decoder
from nudge.model.saved import Saved

# "GPT-style models have a capacity of approximately 3.6 bits per parameter": 500 thousand to 1.5 billion weights, on
# more random data than they can hold.
PUBLISHED = {"bits_per_weight": 3.6, "source": "Morris et al. 2025, How much do language models memorize?"}
PUBLISHED_AT = "arXiv:2505.24832"


def bits(scored: Scored, corpus: list[dict[str, Any]]) -> NDArray[np.float64]:
    """Return the bits that a model knows of each answer: log2 p(answer | question) − log2 q(answer).

    q is the best guess of somebody who has seen no single fact, but knows all answers of the operation: how often this
    answer is among them. With answers in a random order that is exactly the probability of each. Negative where
    the model would have done better to guess so.

    Args:
        scored: the facts.
        corpus: all facts of the corpus, of every split and held out: those whose answers were shuffled together.
    """
    count = Counter((row["operation"], row["answer"]) for row in corpus)
    of_operation = Counter(row["operation"] for row in corpus)
    guess_N = np.array(
        [count[row["operation"], row["answer"]] / of_operation[row["operation"]] for row in scored.rows],
        dtype=np.float64,
    )
    return -scored.surprisal_N / math.log(2) - np.log2(guess_N)


def weights(model: Decoder) -> int:
    """Count a model's weights; a matrix that is used twice counts once."""
    return sum(weight.numel() for weight in model.parameters())


def measure(seen: Scored, unseen: Scored, corpus: list[dict[str, Any]], model: Decoder) -> dict[str, Any]:
    """Return what a model trained on shuffled answers has learned by heart.

    Args:
        seen: the facts that it was trained on.
        unseen: facts that it wasn't, whose answers it can't know: a control.
        corpus: all facts of the corpus.
        model: the network.

    Returns:
        `{"train", "held_out", "gap", "bits", "bits_possible", "bits_per_fact", "control_bits_per_fact", "weights",
        "bits_per_weight", "published"}`: exact match in each as `intervals.share` gives it, and their difference; bits
        over all training facts, and what they would be if all were known for certain; the mean per training fact and
        per unseen one (at most 0 but for chance), each with its interval. Bits per weight are a lower bound of the
        capacity: a model that knows all it was shown might hold more.
    """
    bits_N = bits(seen, corpus)
    certain = Scored(seen.rows, np.zeros_like(seen.surprisal_N), seen.right_N)
    train = intervals.share(int(seen.right_N.sum()), len(seen.rows))
    held_out = intervals.share(int(unseen.right_N.sum()), len(unseen.rows))
    assert train["share"] is not None, "curation leaves no split empty"
    assert held_out["share"] is not None, "curation leaves no split empty"
    return {
        "train": train,
        "held_out": held_out,
        "gap": train["share"] - held_out["share"],
        "bits": float(bits_N.sum()),
        "bits_possible": float(bits(certain, corpus).sum()),
        "bits_per_fact": intervals.mean(bits_N.tolist()),
        "control_bits_per_fact": intervals.mean(bits(unseen, corpus).tolist()),
        "weights": weights(model),
        "bits_per_weight": float(bits_N.sum()) / weights(model),
        "published": PUBLISHED | {"address": PUBLISHED_AT},
    }


def by_heart(snapshots: Iterator[tuple[int, Saved]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how many training facts are answered right after each kept step: how long it takes to learn them.

    Args:
        snapshots: step and model, in order.
        rows: training facts; all, or a sample that says so by its count.

    Returns:
        rows `{"step", "count", "right", "share", "low", "high"}`.
    """
    return [
        {"step": step, **intervals.share(int(answers.score(model, rows).right_N.sum()), len(rows))}
        for step, model in snapshots
    ]
