"""Calibration: of the answers that a model is 94 percent sure of, are 94 in 100 right?"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nudge.data.tokenizer import END_ID
from nudge.evaluation.intervals import wilson
from nudge.insight.questions import Questions
from nudge.insight.resampling import Values
from nudge.model.decoder import Decoder
from nudge.model.generation import greedy

BINS = 10  # with a test split of 1,632, a bin holds 163 answers and its share has an interval of ± 0.08 at most


def confidence(model: Decoder, questions: Questions) -> tuple[Values, NDArray[np.bool_]]:
    """Answer all questions; return the probability of each answer, its end included, and whether it is right, [B]."""
    texts = [
        row[:length] for row, length in zip(questions.tokens_BT.tolist(), questions.length_B.tolist(), strict=True)
    ]
    asked = questions.prompt_B.tolist()
    prompts = [text[:length] for text, length in zip(texts, asked, strict=True)]
    longest = int((questions.length_B - questions.prompt_B).max())
    answers = greedy(model, prompts, END_ID, longest)
    right = [
        answer.ended and [*prompt, *answer.ids, END_ID] == text
        for prompt, answer, text in zip(prompts, answers, texts, strict=True)
    ]
    return torch.tensor([answer.log_probability for answer in answers]).double().exp().numpy(), np.array(right)


def bins(confidence_B: Values) -> NDArray[np.int64]:
    """Divide answers into `BINS` of equal size by their confidence; return the bin of each, [B].

    Bins of equal width would put nearly all answers of a good model into the last one (Nixon et al. 2019,
    arXiv:1904.01685).
    """
    order_B = np.argsort(np.argsort(confidence_B, kind="stable"), kind="stable")
    return order_B * BINS // len(confidence_B)


def expected_error(confidence_B: Values, right_B: NDArray[np.bool_], weight_RB: Values) -> Values:
    """Return the expected calibration error in each sample, [R]: the mean distance of confidence and share right.

    The mean is over bins, each weighted by its answers (Guo et al. 2017, arXiv:1706.04599, equation 3).

    Args:
        weight_RB: how often each answer is in each sample.
    """
    bin_B = bins(confidence_B)
    in_bin_BN = (bin_B[:, None] == np.arange(BINS)).astype(np.float64)
    gap_RN = np.abs((weight_RB * (confidence_B - right_B)) @ in_bin_BN)
    return gap_RN.sum(1) / weight_RB.sum(1)


def skill(confidence_B: Values, right_B: NDArray[np.bool_], weight_RB: Values) -> Values:
    """Return Brier's skill score in each sample, [R]: 1 of a prophet, 0 of who always says the share that is right.

    It is 1 − the mean squared distance of confidence and outcome, over that of the constant, which is perfectly
    calibrated, and useless (Murphy 1973). NaN in a sample where all are right, or none: nothing is there to tell.
    """
    total_R = weight_RB.sum(1)
    share_R = weight_RB @ right_B / total_R
    variance_R = np.where((share_R > 0) & (share_R < 1), share_R * (1 - share_R), np.nan)
    return np.asarray(1 - weight_RB @ (confidence_B - right_B) ** 2 / total_R / variance_R)


def reliability(confidence_B: Values, right_B: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return the reliability curve, one row a bin: the range of confidence, its mean, and the share right."""
    bin_B, rows = bins(confidence_B), []
    for number in np.unique(bin_B):
        here_B = bin_B == number
        count, right = int(here_B.sum()), int(right_B[here_B].sum())
        low, high = wilson(right, count)
        rows.append(
            {
                "from": float(confidence_B[here_B].min()),
                "to": float(confidence_B[here_B].max()),
                "confidence": float(confidence_B[here_B].mean()),
                "right": right / count,
                "low": low,
                "high": high,
                "count": count,
            }
        )
    return rows
