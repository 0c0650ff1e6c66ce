"""Answers are what the probabilities say, in batches as alone."""

import itertools
import math

import pytest
import torch

from nudge.model.decoder import Decoder
from nudge.model.generation import greedy, most_probable
from tests.model.test_decoder import decoder

END = 2


@pytest.fixture
def model() -> Decoder:
    model = decoder(width=16, heads=2, kv_heads=2, mlp_width=32, context=6)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())), alpha=0.3)
    return model


def log_probability(model: Decoder, prompt: list[int], ids: tuple[int, ...], ended: bool) -> float:
    whole = [*prompt, *ids, *([END] if ended else [])]
    with torch.no_grad():
        log_p_TV = model(torch.tensor([whole[:-1]]))[0].log_softmax(-1)
    return sum(log_p_TV[at - 1, whole[at]].item() for at in range(len(prompt), len(whole)))


def test_greedy_takes_the_most_probable_token_each_time(model: Decoder) -> None:
    ids = [1, 5]
    expected: list[int] = []
    while len(ids) <= model.config.context:
        token = int(model(torch.tensor([ids]))[0, -1].argmax())
        ids.append(token)
        if token == END:
            break
        expected.append(token)
    answer = greedy(model, [[1, 5]], END)[0]
    assert list(answer.ids) == expected
    assert answer.log_probability == pytest.approx(log_probability(model, [1, 5], answer.ids, answer.ended), abs=1e-5)


def test_a_batch_of_unequal_prompts_answers_as_each_alone(model: Decoder) -> None:
    prompts = [[1, 5], [1, 9, 4], [1, 7], [1], [1, 30, 31, 32]]
    together = greedy(model, prompts, END)
    for prompt, answer in zip(prompts, together, strict=True):
        alone = greedy(model, [prompt], END)[0]
        assert answer.ids == alone.ids
        assert answer.log_probability == pytest.approx(alone.log_probability, abs=1e-5)


def test_generation_stops_at_the_limit(model: Decoder) -> None:
    assert all(len(answer.ids) <= 2 for answer in greedy(model, [[1, token] for token in range(3, 30)], END, max_new=2))


def test_the_most_probable_answers_are_those_of_exhaustive_search(model: Decoder) -> None:
    # All answers to a prompt of five tokens in a context of six, written out: the seventh token is predicted, not read.
    prompt = [1, 5, 9, 4, 7]
    log_p = {((), True): log_probability(model, prompt, (), True)}
    for first in set(range(38)) - {END}:
        log_p[(first,), True] = log_probability(model, prompt, (first,), True)
        for second in set(range(38)) - {END}:
            log_p[(first, second), False] = log_probability(model, prompt, (first, second), False)
    assert sum(math.exp(value) for value in log_p.values()) == pytest.approx(1, abs=1e-4)
    expected = sorted(log_p.items(), key=lambda item: -item[1])[:5]
    found = most_probable(model, prompt, 5, END)
    assert [(answer.ids, answer.ended) for answer in found] == [key for key, _ in expected]
    for answer, (_, value) in zip(found, expected, strict=True):
        assert answer.log_probability == pytest.approx(value, abs=1e-5)


def test_an_answer_that_just_fits_can_end(model: Decoder) -> None:
    # With model.context=N, as training recommends for documents of N + 1 tokens, every right answer counted as cut off.
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.weight[END] = 100 * model.model(torch.tensor([[1, 5, 9, 4, 7, 8]]), None)[0, -1]
    full = [1, 5, 9, 4, 7, 8]
    assert len(full) == model.config.context
    (answer,) = greedy(model, [full], END)
    assert answer.ended
    assert answer.ids == ()
    assert answer.log_probability == pytest.approx(log_probability(model, full, (), True), abs=1e-5)
    assert most_probable(model, full, 2, END)[0] == pytest.approx(answer)


def test_the_search_ends_on_an_untrained_model() -> None:
    # Best-first search over near-uniform probabilities visits exponentially many beginnings.
    answers = most_probable(decoder(), [1, 5], 3, END)
    assert len(answers) == 3
    assert all(a.log_probability >= b.log_probability for a, b in itertools.pairwise(answers))
