"""Hypothesis: numbers that are neighbours lie close inside the model, and its answers depend on that.

Shape suffixes: B questions, N numbers, W width, K dimensions of a subspace, C control subspaces, R bootstrap samples.
"""

import numpy as np
from numpy.typing import NDArray

from nudge.evaluation import intervals
from nudge.insight.finding import Criterion, Figure, Finding
from nudge.insight.hypotheses import number_tables, order, probes
from nudge.insight.hypotheses.erasing import Falls, right, without_helix, without_lines
from nudge.insight.hypotheses.held_numbers import OPERANDS, Held
from nudge.insight.hypotheses.inside import Inside
from nudge.insight.questions import Questions
from nudge.model.saved import Saved

HYPOTHESIS = "number representations"
CLAIM = "Numbers that are neighbours lie close inside the model, and its answers depend on that."
CAVEAT = "That answers depend on a direction does not show that the model calculates along it."

FEWEST = 20  # numbers that the probes need: two decades
# Random subspaces beside the one that decides; the mean of their falls is steady to a third of their spread, and the
# interval counts that in. The others are only shown.
CONTROLS, FEW_CONTROLS = 10, 3
MATTERS = 0.05  # a fall by less than five questions in a hundred is no use that matters

Floats = NDArray[np.float64]


def test(learned: Saved, untrained: Saved, questions: Questions, seed: int) -> Finding:
    """Test the hypothesis on a model.

    Args:
        learned: the model.
        untrained: the weights that it began with.
        questions: facts that the model was not trained on.
        seed: of the permutations, the bootstrap and the control subspaces.
    """
    # The last place of the stream that a later attention, and so the answer's position, can still read.
    place = 2 * (learned.model.config.layers - 1)
    trained, began = Inside.of("trained", learned, questions, seed), Inside.of("untrained", untrained, questions, seed)
    if not trained.words or min(len(held[place].numbers_N) for held in trained.composed.values()) < FEWEST:
        return _nothing_to_see()
    intact_B = right(learned, questions, lambda batch: {})
    decisive = without_helix(learned, questions, trained.composed, place, CONTROLS, seed)
    beside = [
        without_helix(learned, questions, trained.composed, earlier, FEW_CONTROLS, seed)
        for earlier in range(0, place, 2)
    ]
    beside.append(without_lines(learned, questions, trained.words, FEW_CONTROLS, seed))
    falls = Falls(questions, intact_B, seed)
    figures = [_order_figure(f"order of the {name}", [held], seed) for name, held in trained.words.items()]
    figures += [_probe_figure(trained, side, target, place, seed) for side in OPERANDS for target in probes.TARGETS]
    for removed in (decisive, *beside):
        figures += [falls.fall(removed), falls.of_controls(removed)]
    return Finding(
        HYPOTHESIS,
        CLAIM,
        _criteria(
            _order_figure("order of the words", list(trained.words.values()), seed),
            _read_more(trained, began, place, seed),
            falls.surplus(decisive),
        ),
        figures,
        CAVEAT,
        {"place": place, **number_tables.tables([trained, began], place, seed)},
    )


def _criteria(order_of_words: Figure, read_more: Figure, falls_more: Figure) -> list[Criterion]:
    return [
        Criterion(
            "Distances between the words' embeddings follow the distances between their numbers: the correlation, "
            "averaged over ones, teens and tens, is above 0, which words in random order have.",
            order_of_words,
            0.0,
        ),
        Criterion(
            "At the last place that the answer's position can still read, a linear probe reads the size of numbers it "
            "never saw better than with untrained weights, which mix an operand's words too: R² is higher by more "
            "than 0.",
            read_more,
            0.0,
        ),
        Criterion(
            "There, without the directions that carry the order, accuracy falls by 0.05 more than without random "
            "directions of as many dimensions and as much variance: less is no use that matters.",
            falls_more,
            MATTERS,
        ),
    ]


def _nothing_to_see() -> Finding:
    nothing = [
        Figure(name, float("nan"), float("nan"), float("nan"), 0, "", "measure") for name in ("order", "probe", "fall")
    ]
    return Finding(HYPOTHESIS, CLAIM, _criteria(*nothing), [], "The facts hold too few numbers to tell.")


def _order_figure(name: str, classes: list[Held], seed: int) -> Figure:
    orders = [order.order(held.vectors_NW, held.numbers_N, "cosine", seed) for held in classes]
    found = order.mean(orders)
    resampled = [order.resampled(held.vectors_NW, held.numbers_N, "cosine", seed) for held in classes]
    low, high = intervals.percentiles(np.mean(resampled, axis=0))
    count = sum(len(held.numbers_N) for held in classes)
    return Figure(f"{name} (p = {found.p:.3f})", found.correlation, low, high, count, "correlation", "measure")


def _drawn_numbers(numbers_N: NDArray[np.int64], seed: int) -> Floats:
    count = len(numbers_N)
    drawn_RN = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=intervals.RESAMPLES)
    return drawn_RN.astype(np.float64)


def _read_more(trained: Inside, began: Inside, place: int, seed: int) -> Figure:
    """Return by how much R² of the size is above that with untrained weights, averaged over the operands."""
    weight = {side: _drawn_numbers(trained.probed[side][place].numbers_N, seed) for side in OPERANDS}
    more_R = np.mean(
        [
            trained.probed[side][place].scores("magnitude", weight[side])
            - began.probed[side][place].scores("magnitude", weight[side])
            for side in OPERANDS
        ],
        axis=0,
    )
    value = np.mean(
        [
            trained.probed[side][place].score("magnitude") - began.probed[side][place].score("magnitude")
            for side in OPERANDS
        ]
    )
    low, high = intervals.percentiles(more_R)
    count = len(trained.probed["left"][place].numbers_N)
    return Figure(
        "R² of the size of held-out numbers, above untrained weights", float(value), low, high, count, "", "control"
    )


def _probe_figure(inside: Inside, side: str, target: str, place: int, seed: int) -> Figure:
    probed = inside.probed[side][place]
    low, high = intervals.percentiles(probed.scores(target, _drawn_numbers(probed.numbers_N, seed)))
    unit = "R²" if target == "magnitude" else "share"
    name = f"{target} of the {side} operand, read from held-out numbers (random labels {probed.control[target]:.2f})"
    return Figure(name, probed.score(target), low, high, len(probed.numbers_N), unit, "measure")
