"""Hypothesis "output mapping": the last state is turned into the right word, by few components, with honest confidence.

Shape suffixes as in `insight/hypotheses/answering.py`.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nudge.data.tokenizer import END_ID
from nudge.insight.finding import Criterion, Figure, Finding
from nudge.insight.hypotheses import calibration
from nudge.insight.hypotheses.answering import Answering, answering, attribution, lens, without
from nudge.insight.questions import Questions
from nudge.insight.resampling import Resampling, Role, Values, of_samples
from nudge.model.decoder import Decoder


def test(model: Decoder, untrained: Decoder, questions: Questions, seed: int) -> Finding:
    """Test where in the network the answer becomes readable, who writes it, and whether its probability is honest.

    Args:
        model: the network, in eval mode.
        untrained: the same with the weights that its training began with.
        questions: facts that it has not seen.
        seed: chooses the bootstrap samples.
    """
    resampling = Resampling(questions, seed)
    figure, count = resampling.figure, len(questions)
    states, fresh = answering(model, questions), answering(untrained, questions)
    first_SN, fresh_SN = (_first(net, seen) for net, seen in ((model, states), (untrained, fresh)))
    first_SB, fresh_SB = (_by_question(values, states) for values in (first_SN, fresh_SN))

    added_CN = attribution(model, states)
    order = added_CN.mean(1).argsort(descending=True).tolist()
    half = len(order) // 2
    before_B = states.all_right(lens(model, states.stream_SND[-1]))

    def fall(removed: list[int]) -> Values:
        return (before_B.double() - states.all_right(without(model, states, removed)).double()).numpy()

    largest_B, smallest_B = fall(order[:half]), fall(order[-half:])
    named = ", ".join(states.components[component] for component in order[:half])

    sure_B, right_B = calibration.confidence(model, questions)
    fresh_sure_B, fresh_right_B = calibration.confidence(untrained, questions)
    one_1B = np.ones((1, count))

    def error(name: str, sure: Values, right: NDArray[np.bool_], role: Role) -> Figure:
        value = float(calibration.expected_error(sure, right, one_1B)[0])
        samples_R = calibration.expected_error(sure, right, resampling.weight_RB)
        return of_samples(name, value, samples_R, count, "share", role)

    skill = of_samples(
        "Brier skill against the constant that knows the share of right answers",
        float(calibration.skill(sure_B, right_B, one_1B)[0]),
        calibration.skill(sure_B, right_B, resampling.weight_RB),
        count,
        "",
        "control",
    )
    return Finding(
        hypothesis="output mapping",
        claim="From a state inside to a word: the layers make the state from which the output matrix reads the right "
        "word, attribution tells which components write it, and its probability says how often it is right.",
        criteria=[
            Criterion(
                "the right token stands first at least half of all times more often at the last place than where the "
                "layers begin: most of it is made by them, and not by the last token alone",
                figure("right token first, last place less embeddings", first_SB[-1] - first_SB[0], "control"),
                0.5,
            ),
            Criterion(
                "taking the half of the components that attribution puts first out of the last state costs at least "
                "0.1 more of the answers than taking out as many that it puts last: else it names the wrong ones",
                figure(
                    f"fall by the largest ({named}) less fall by the smallest", largest_B - smallest_B, "intervention"
                ),
                0.1,
            ),
            Criterion(
                "confidence and share of right answers differ by less than 0.05 on average: 94 percent sure is right "
                "between 89 and 99 times in 100",
                error("expected calibration error", sure_B, right_B, "measure"),
                0.05,
                above=False,
            ),
            Criterion(
                "confidence tells right from wrong answers better than a constant, which is calibrated and useless",
                skill,
                0.0,
            ),
        ],
        figures=[
            figure("right token first at the last place, untrained weights", fresh_SB[-1], "control"),
            figure(f"fall in exact match without the {half} largest", largest_B, "intervention"),
            figure(f"fall in exact match without the {half} smallest", smallest_B, "control"),
            figure("mean confidence", sure_B, "measure"),
            figure("exact match", right_B.astype(np.float64), "measure"),
            error("expected calibration error, untrained weights", fresh_sure_B, fresh_right_B, "control"),
        ],
        caveat="Attribution and removal follow the way straight from a component to the output: they say what writes "
        "the word, not what computed it.",
        details={
            "lens": _lens_table(first_SN, fresh_SN, states, resampling),
            "settles": _settling(first_SN, states),
            "attribution": [
                {
                    "component": states.components[component],
                    "logit": float(added_CN[component].mean()),
                    **_plain(figure("", fall([component]), "intervention")),
                }
                for component in range(len(order))
            ],
            "reliability": calibration.reliability(sure_B, right_B),
        },
    )


def _first(model: Decoder, states: Answering) -> Tensor:
    """Say at which places the right token stands first, [S, N]."""
    return torch.stack([lens(model, x_ND).argmax(-1) == states.right_N for x_ND in states.stream_SND])


def _by_question(values_SN: Tensor, states: Answering) -> Values:
    """Return the mean over each question's positions, [S, B]."""
    count_B = torch.bincount(states.question_N)
    sums = [torch.bincount(states.question_N, values_N.double()) for values_N in values_SN]
    return torch.stack([sum_B / count_B for sum_B in sums]).numpy()


def settled_at(first_SN: Tensor) -> Tensor:
    """Return at which place the right token first stands first and stays, [N]; S where it doesn't at the end."""
    stays_SN = first_SN.flip(0).long().cumprod(0).flip(0)
    return first_SN.shape[0] - stays_SN.sum(0)


def _kinds(states: Answering) -> dict[str, Tensor]:
    """Say which positions say the answer's first word, which a later one, and which the end, [N] each."""
    ends_N = states.right_N == END_ID
    begins_N = torch.ones_like(ends_N)
    begins_N[1:] = states.question_N[1:] != states.question_N[:-1]
    return {"first word": begins_N, "later words": ~begins_N & ~ends_N, "end": ends_N & ~begins_N}


def _settling(first_SN: Tensor, states: Answering) -> list[dict[str, Any]]:
    """Count by place where the right token comes to stand first for good; "never" where it doesn't."""
    place_N, names = settled_at(first_SN), [*states.places, "never"]
    return [
        {"token": kind, "place": name, "count": int((place_N[here_N] == place).sum()), "of": int(here_N.sum())}
        for kind, here_N in _kinds(states).items()
        for place, name in enumerate(names)
    ]


def _lens_table(first_SN: Tensor, fresh_SN: Tensor, states: Answering, resampling: Resampling) -> list[dict[str, Any]]:
    """Return for each place, and each kind of token, how often the right one stands first."""
    first_SB, fresh_SB = _by_question(first_SN, states), _by_question(fresh_SN, states)
    rows = []
    for place, name in enumerate(states.places):
        every = resampling.figure("", first_SB[place], "measure")
        rows.append(
            {
                "place": name,
                "first": every.value,
                "low": every.low,
                "high": every.high,
                "n": every.n,
                "untrained": float(fresh_SB[place].mean()),
                "by_token": {
                    kind: float(first_SN[place][here_N].double().mean()) for kind, here_N in _kinds(states).items()
                },
            }
        )
    return rows


def _plain(fall: Figure) -> dict[str, float]:
    return {"fall": fall.value, "low": fall.low, "high": fall.high}
