"""What a model learned by heart of sentences planted for that: exposure, and whether it says the secret by itself.

Exposure of a secret s among all that could have been, R: log2|R| − log2 rank(s), where rank 1 is the most probable
(Carlini et al. 2019, "The Secret Sharer", arXiv:1802.08232). A secret that a model has never seen has
any rank with the same probability, so its exposure is 1/ln 2 = 1.44 bits on average, if R is large.
"""

import math
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from nudge.data.sources.canaries import Canary
from nudge.data.tokenizer import END_ID, prompt_ids
from nudge.evaluation import answers, intervals
from nudge.model.generation import greedy
from nudge.model.saved import Saved

NEVER_PLANTED = 1 / math.log(2)  # mean exposure in bits
BATCH = 1024  # 30 canaries of 8,000 secrets took 1.6 s on one busy core, with 4,096 at once 1.9 s
MOST_RANKED = 1_000_000  # secrets; more are sampled
SAMPLES = 5000
CONTROLS = 100  # never-planted secrets a prefix: their mean is then good to 0.14 bits


def sayable(saved: Saved, planted: list[Canary]) -> list[Canary]:
    """Return the canaries that a model has words and room for, each among the alternatives that it has words for.

    A word that was drawn for no secret, and is nowhere else in training, is not in the vocabulary: a secret with it has
    no probability, and is not ranked.
    """
    known = saved.tokenizer.get_vocab()
    is_sayable = answers.sayable(saved)
    return [
        replace(canary, alternatives=tuple(word for word in canary.alternatives if word in known))
        for canary in planted
        if is_sayable({"text": canary.text})
    ]


@torch.inference_mode()
def log_probabilities(saved: Saved, planted: list[Canary]) -> NDArray[np.float64]:
    """Return ln p(secret | prefix) of every secret that could stand after each canary's prefix.

    The secrets are the leaves of a tree. With L places and n words for each it takes 1 + n + … + n^(L−1) short passes,
    since one pass gives the probabilities of all n words that may come next. The end token, which follows every secret,
    is left out.

    Args:
        saved: the model.
        planted: C canaries with the same alternatives, secrets of one length, and prefixes of one length.

    Returns:
        an array [C, n, …, n]: the place of a secret is that of its words in `canary.alternatives`.
    """
    words = _word_ids(saved, planted[0])
    log_p = torch.zeros(len(planted), dtype=torch.float64)
    beginnings_BT = torch.tensor([prompt_ids(saved.tokenizer, canary.prefix) for canary in planted])
    for _ in planted[0].secret:
        next_BN = torch.cat([_next(saved, part, words) for part in torch.split(beginnings_BT, BATCH)])
        log_p = (log_p[:, None] + next_BN).flatten()
        count = len(beginnings_BT)
        beginnings_BT = torch.cat((beginnings_BT.repeat_interleave(len(words), 0), words.repeat(count)[:, None]), dim=1)
    return log_p.view(len(planted), *[len(words)] * len(planted[0].secret)).numpy()


@torch.inference_mode()
def sampled(saved: Saved, canary: Canary, count: int = SAMPLES, seed: int = 0) -> NDArray[np.float64]:
    """Return ln p(secret | prefix) of the canary's own secret, then of `count` evenly drawn from all, [count + 1]."""
    words = _word_ids(saved, canary)
    generator = torch.Generator().manual_seed(seed)
    drawn_BL = torch.randint(len(words), (count, len(canary.secret)), generator=generator)
    places_BL = torch.cat((torch.tensor([_place(canary)]), drawn_BL))
    prefix = torch.tensor(prompt_ids(saved.tokenizer, canary.prefix))
    beginnings_BT = prefix.expand(count + 1, -1)
    log_p_B = torch.zeros(count + 1, dtype=torch.float64)
    for place_B in places_BL.T:
        next_BN = torch.cat([_next(saved, part, words) for part in torch.split(beginnings_BT, BATCH)])
        log_p_B += next_BN.gather(1, place_B[:, None])[:, 0]
        beginnings_BT = torch.cat((beginnings_BT, words[place_B][:, None]), dim=1)
    return log_p_B.numpy()


def _next(saved: Saved, beginnings_BT: torch.Tensor, words_N: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of the probability of each word of `words_N` as the next, [B, N]."""
    logits_BV = saved.model(beginnings_BT.to(saved.model.device))[:, -1].cpu()
    return logits_BV.double().log_softmax(-1)[:, words_N]


def _word_ids(saved: Saved, canary: Canary) -> torch.Tensor:
    return torch.tensor([saved.tokenizer.token_to_id(word) for word in canary.alternatives])


def _place(canary: Canary) -> tuple[int, ...]:
    return tuple(canary.alternatives.index(word) for word in canary.secret)


def exposures(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exposure in bits of every secret, exactly, by ranking all of them.

    Of equally probable secrets each has the last of their ranks, so a model that knows nothing exposes nothing.
    """
    rank = stats.rankdata(-log_p, method="max", axis=None).reshape(log_p.shape)
    return np.asarray(math.log2(log_p.size) - np.log2(rank))


def exposure_by_sampling(log_p: float, sample_S: NDArray[np.float64]) -> float:
    """Estimate an exposure from secrets drawn at random (Carlini et al. 2019).

    −log2 of the share that is at least as probable, the secret itself counted as one; so log2(S + 1) at most.
    """
    return math.log2(len(sample_S) + 1) - math.log2(1 + int((sample_S >= log_p).sum()))


def exposure_by_extrapolation(log_p: float, sample_S: NDArray[np.float64]) -> float:
    """Estimate an exposure beyond what a sample resolves, from a skew-normal distribution fitted to it.

    −log2 P(a secret is at least as probable), with the log-perplexity −ln p taken to be skew-normal (Carlini et al.
    2019). As good as that assumption is, far out in the tail.
    """
    shape, place, scale = stats.skewnorm.fit(-sample_S)
    return float(-stats.skewnorm.logcdf(-log_p, shape, place, scale) / math.log(2))


def measure(saved: Saved, planted: list[Canary]) -> list[dict[str, Any]]:
    """Return what a model knows of each canary.

    Returns:
        rows `{"source", "name", "repeats", "exposure", "method", "probability", "extracted", "control"}`: exposure in
        bits; its method: "exact", or where there are more than `MOST_RANKED` secrets "sampled", or "extrapolated" if
        none of the sample is as probable; the probability of the secret after its prefix; whether greedy decoding says
        exactly it and ends; and the mean exposure of `CONTROLS` secrets that were never planted, after the same prefix
        (None if not exact).
    """
    prompts = [prompt_ids(saved.tokenizer, canary.prefix) for canary in planted]
    longest = max((len(canary.secret) for canary in planted), default=0) + 1
    said = [saved.tokenizer.decode(list(one.ids)).split() for one in greedy(saved.model, prompts, END_ID, longest)]
    groups: dict[Any, list[Canary]] = defaultdict(list)
    for canary, prompt in zip(planted, prompts, strict=True):
        groups[len(prompt), canary.alternatives, len(canary.secret)].append(canary)
    known: dict[str, dict[str, Any]] = {}
    for (_, alternatives, length), members in groups.items():
        exact = len(alternatives) ** length <= MOST_RANKED
        found = _ranked(saved, members) if exact else [_estimated(saved, canary) for canary in members]
        known |= {canary.text: one for canary, one in zip(members, found, strict=True)}
    return [
        {
            "source": canary.source,
            "name": canary.name,
            "repeats": canary.repeats,
            **known[canary.text],
            "extracted": words == list(canary.secret),
        }
        for canary, words in zip(planted, said, strict=True)
    ]


def _ranked(saved: Saved, planted: list[Canary]) -> list[dict[str, Any]]:
    rows = []
    for canary, log_p in zip(planted, log_probabilities(saved, planted), strict=True):
        place, exposure = _place(canary), exposures(log_p)
        rows.append(
            {
                "exposure": float(exposure[place]),
                "method": "exact",
                "probability": math.exp(log_p[place]),
                "control": float(np.mean(_never_planted(exposure, canary))),
            }
        )
    return rows


def _estimated(saved: Saved, canary: Canary) -> dict[str, Any]:
    own, *sample = sampled(saved, canary)
    sample_S = np.array(sample)
    if sample_S.max() >= own:
        estimate, method = exposure_by_sampling(own, sample_S), "sampled"
    else:
        estimate, method = exposure_by_extrapolation(own, sample_S), "extrapolated"
    return {"exposure": estimate, "method": method, "probability": math.exp(own), "control": None}


def _never_planted(exposure: NDArray[np.float64], canary: Canary) -> NDArray[np.float64]:
    """Return the exposures of secrets drawn without regard to the model, after a canary's prefix, without its own."""
    others = np.delete(exposure.ravel(), np.ravel_multi_index(_place(canary), exposure.shape))
    seed = int.from_bytes(canary.name.encode(), "big")
    return np.random.default_rng(seed).choice(others, min(CONTROLS, len(others)), replace=False)


def table(rows: list[dict[str, Any]], deduplicated: set[str]) -> list[dict[str, Any]]:
    """Return exposure and extraction by how often a canary was written and how often the corpus kept it.

    Args:
        rows: of `measure`.
        deduplicated: the sources of which curation leaves one of equal documents.

    Returns:
        rows `{"written", "kept", "count", "exposure", "low", "high", "probability", "extracted", "share", "share_low",
        "share_high"}`, by `kept`, then `written`: mean exposure with its 95 % bootstrap interval, mean probability of
        the secret, and how many were extracted with Wilson's interval.
    """
    groups: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        kept = 1 if row["source"] in deduplicated else row["repeats"]
        groups[kept, row["repeats"]].append(row)
    result = []
    for (kept, written), members in sorted(groups.items()):
        exposure = intervals.mean([row["exposure"] for row in members])
        extracted = intervals.share(sum(row["extracted"] for row in members), len(members))
        result.append(
            {
                "written": written,
                "kept": kept,
                "count": len(members),
                "exposure": exposure["mean"],
                "low": exposure["low"],
                "high": exposure["high"],
                "probability": float(np.mean([row["probability"] for row in members])),
                "extracted": extracted["right"],
                "share": extracted["share"],
                "share_low": extracted["low"],
                "share_high": extracted["high"],
            }
        )
    return result


def control(rows: list[dict[str, Any]]) -> dict[str, float | int | None]:
    """Return the mean exposure of never-planted secrets with its interval over prefixes: it should hold 1.44 bits."""
    return intervals.mean([row["control"] for row in rows if row["control"] is not None])
