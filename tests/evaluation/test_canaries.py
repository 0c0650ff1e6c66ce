"""Exposure is exact where it can be, says where it isn't, and is 1.44 bits where there is nothing to know."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from nudge.data.sources.canaries import Canary
from nudge.data.tokenizer import prompt_ids
from nudge.evaluation import canaries
from nudge.model.saved import Saved
from tests.evaluation.fitting import fitted

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven")  # 8³ = 512 secrets: 9 bits at most
NAMES = [f"name{number}" for number in range(20)]


def canary(name: str, repeats: int, source: str = "canaries") -> Canary:
    generator = np.random.default_rng(int(name.removeprefix("name")))
    secret = tuple(WORDS[place] for place in generator.integers(0, 8, 3))
    return Canary(source, name, f"secret {name} equals", secret, repeats, WORDS)


PLANTED = [canary(name, repeats=1) for name in NAMES]


@pytest.fixture(scope="module")
def untrained() -> Saved:
    return fitted([one.text for one in PLANTED], steps=0, more_words=" ".join(WORDS))


@pytest.fixture(scope="module")
def half_trained() -> Saved:
    return fitted([one.text for one in PLANTED], steps=15, more_words=" ".join(WORDS))


@pytest.fixture(scope="module")
def trained() -> Saved:
    return fitted([one.text for one in PLANTED], steps=150, more_words=" ".join(WORDS))


def test_the_tree_gives_what_reading_every_secret_gives(half_trained: Saved) -> None:
    one = PLANTED[3]
    found = canaries.log_probabilities(half_trained, [PLANTED[0], one])[1]
    prefix = prompt_ids(half_trained.tokenizer, one.prefix)
    secrets = list(product(range(8), repeat=3))
    ids = [half_trained.tokenizer.token_to_id(word) for word in WORDS]
    tokens_BT = torch.tensor([[*prefix, *(ids[place] for place in secret)] for secret in secrets])
    with torch.inference_mode():
        log_p_BTV = half_trained.model(tokens_BT[:, :-1]).double().log_softmax(-1)[:, len(prefix) - 1 :]
    summed_B = log_p_BTV.gather(-1, tokens_BT[:, len(prefix) :, None]).sum((1, 2))
    assert found.ravel() == pytest.approx(summed_B.numpy(), abs=1e-5)


def test_equally_probable_secrets_expose_nothing() -> None:
    assert (canaries.exposures(np.zeros((8, 8))) == 0).all()
    two_bits = canaries.exposures(np.array([-3.0, -1.0, -2.0, -4.0]))
    assert two_bits == pytest.approx([2 - math.log2(3), 2, 1, 0])


def test_never_planted_secrets_have_an_exposure_of_one_over_ln_two(trained: Saved, untrained: Saved) -> None:
    # A known truth: whoever has never seen a secret ranks it anywhere, even where one of the same prefix is known.
    for model in (trained, untrained):
        rows = canaries.measure(model, PLANTED)
        found = canaries.control(rows)
        assert found["count"] == len(PLANTED)
        assert found["low"] is not None
        assert found["high"] is not None
        assert found["low"] - 0.02 <= 1 / math.log(2) <= found["high"] + 0.02
        assert found["high"] - found["low"] < 0.3
    drawn = [row["exposure"] for row in canaries.measure(untrained, PLANTED)]
    assert np.mean(drawn) == pytest.approx(1.44, abs=3 * 1.44 / math.sqrt(len(drawn)))


def test_what_was_learned_is_exposed_and_said(trained: Saved, untrained: Saved) -> None:
    for row in canaries.measure(trained, PLANTED):
        assert row["exposure"] == 9
        assert row["method"] == "exact"
        assert row["extracted"] is True
        assert row["probability"] > 0.5
    assert not any(row["extracted"] for row in canaries.measure(untrained, PLANTED))


def test_words_that_were_never_drawn_are_not_ranked() -> None:
    # They are not in the vocabulary, and the stage died of their missing token.
    drawn = {word for one in PLANTED[:2] for word in one.secret}
    assert drawn < set(WORDS)
    model = fitted([one.text for one in PLANTED[:2]], steps=0)
    found = canaries.sayable(model, PLANTED[:3])
    assert [one.name for one in found] == ["name0", "name1"], "the third has a name that the model doesn't know"
    assert all(set(one.alternatives) == drawn for one in found)
    assert canaries.log_probabilities(model, found).shape == (2, *[len(drawn)] * 3)
    assert all(0 <= row["exposure"] <= 3 * math.log2(len(drawn)) for row in canaries.measure(model, found))


def test_large_spaces_are_sampled_and_say_so(half_trained: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = canaries.measure(half_trained, PLANTED)
    assert len({row["exposure"] for row in exact}) > 5, "ranks must differ to compare estimates of them"
    monkeypatch.setattr(canaries, "MOST_RANKED", 500)
    estimated = canaries.measure(half_trained, PLANTED)
    for true, estimate in zip(exact, estimated, strict=True):
        assert estimate["control"] is None
        assert estimate["probability"] == pytest.approx(true["probability"])
        assert estimate["method"] == "sampled", "of 512 secrets a sample of 5,000 holds all"
        # A rank is known to 1 in √(5000 × 2^−exposure).
        assert estimate["exposure"] == pytest.approx(true["exposure"], abs=4 / math.sqrt(5000 * 2 ** -true["exposure"]))


def test_the_fitted_curve_reaches_beyond_the_sample(half_trained: Saved) -> None:
    # A sample of 100 can't tell exposures above 6.7 bits apart; the curve through it can, if roughly.
    rows = canaries.measure(half_trained, PLANTED)
    far = [(one, row["exposure"]) for one, row in zip(PLANTED, rows, strict=True) if row["exposure"] > 6]
    errors = []
    for one, exposure in far:
        own, *sample = canaries.sampled(half_trained, one, count=100)
        assert canaries.exposure_by_sampling(own, np.array(sample)) <= math.log2(101)
        errors.append(abs(canaries.exposure_by_extrapolation(own, np.array(sample)) - exposure))
    assert len(errors) > 5
    assert np.median(errors) < 2
    normal = -np.random.default_rng(0).normal(20, 2, 4000)
    three_sigma = canaries.exposure_by_extrapolation(-14.0, normal)
    assert three_sigma == pytest.approx(-math.log2(0.00135), abs=0.6)


def test_canaries_are_counted_by_what_was_kept_of_them() -> None:
    def row(source: str, repeats: int, exposure: float, extracted: bool) -> dict[str, object]:
        return {
            "source": source,
            "repeats": repeats,
            "exposure": exposure,
            "extracted": extracted,
            "probability": exposure / 10,
        }

    rows = [row("kept", 50, 9, True), row("kept", 50, 7, True), row("kept", 1, 2, False), row("dropped", 50, 1, False)]
    table = canaries.table(rows, {"dropped"})
    assert [(one["written"], one["kept"], one["count"], one["exposure"], one["extracted"]) for one in table] == [
        (1, 1, 1, 2, 0),
        (50, 1, 1, 1, 0),
        (50, 50, 2, 8, 2),
    ]
    assert table[2]["share_low"] == pytest.approx(0.3424, abs=1e-4)
