"""What a model holds of numbers, as rows for tables and charts.

Shape suffixes: N numbers, W width.
"""

from collections.abc import Sequence
from typing import Any

from sklearn.decomposition import PCA

from nudge.data import numbers
from nudge.insight import fourier
from nudge.insight.hypotheses import order, probes
from nudge.insight.hypotheses.held_numbers import OPERANDS, Held
from nudge.insight.hypotheses.inside import Inside

ORDERS = 199  # random orders beside each; the least p is then 1/200

Rows = list[dict[str, Any]]


def tables(models: Sequence[Inside], place: int, seed: int) -> dict[str, Rows]:
    """Return the tables of the finding; each row's `model` is the name of one of `models`.

    Args:
        models: the trained one and those beside it.
        place: of the residual stream, where the picture of composed numbers is taken.
        seed: of the permutations.

    Returns:
        `order`: by `of` (a class of words, or an operand) and `place` of the stream: `metric`, `correlation`, `p`;
        `probes`: by `operand`, `place` and `target`: `score`, and `control` with random labels;
        `spectrum`: by class of words and `frequency`: `share` of the power; `p` of the slowest wave;
        `pictures`: by class of words or operand: each number's `word`, `x` and `y` on the first two principal
        components, and the share of the variance that these hold.
    """
    return {
        "order": [row for inside in models for row in _order(inside, seed)],
        "probes": [row for inside in models for row in _probes(inside)],
        "spectrum": [row for inside in models for row in _spectrum(inside, seed)],
        "pictures": [row for inside in models for row in _pictures(inside, place)],
    }


def _order(inside: Inside, seed: int) -> Rows:
    held = [(name, 0, one) for name, one in inside.words.items()]
    held += [(side, place, one) for side in OPERANDS for place, one in inside.composed[side].items()]
    rows = []
    for of, place, one in held:
        for metric in ("cosine", "euclidean"):
            found = order.order(one.vectors_NW, one.numbers_N, metric, seed, ORDERS)
            result = {"metric": metric, "correlation": found.correlation, "p": found.p}
            rows.append({"model": inside.name, "of": of, "place": place, **result})
    return rows


def _probes(inside: Inside) -> Rows:
    return [
        {
            "model": inside.name,
            "operand": side,
            "place": place,
            "target": target,
            "score": probed.score(target),
            "control": probed.control[target],
        }
        for side in OPERANDS
        for place, probed in inside.probed[side].items()
        for target in probes.TARGETS
    ]


def _spectrum(inside: Inside, seed: int) -> Rows:
    rows = []
    for name, held in inside.words.items():
        found = fourier.spectrum(held.vectors_NW, seed)
        for frequency, share in enumerate(found["power"], 1):
            rows.append({"model": inside.name, "of": name, "frequency": frequency, "share": share, "p": found["p"]})
    return rows


def _pictures(inside: Inside, place: int) -> Rows:
    held = list(inside.words.items()) + [(side, inside.composed[side][place]) for side in OPERANDS]
    return [row for of, one in held for row in _picture(inside.name, of, one)]


def _picture(model: str, of: str, held: Held) -> Rows:
    analysis = PCA(2).fit(held.vectors_NW)
    shown = float(analysis.explained_variance_ratio_.sum())
    return [
        {"model": model, "of": of, "number": number, "word": numbers.words(number), "x": x, "y": y, "variance": shown}
        for number, (x, y) in zip(held.numbers_N.tolist(), analysis.transform(held.vectors_NW).tolist(), strict=True)
    ]
