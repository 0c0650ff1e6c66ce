"""Losses, advantages and divergences against published formulas, in double precision and where they easily go wrong."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nudge.data.tokenizer import BEGIN_ID, END_ID, PAD_ID
from nudge.data.tokens import Tokens
from nudge.training import losses
from nudge.training.batches import first_targets, packed


def double(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_the_final_end_token_keeps_its_label_and_padding_has_none() -> None:
    # B61 (trl #976, #1623): where padding is the end token, masking padding masks the end, and no answer ever stops.
    documents = [[BEGIN_ID, 5, 6, 7, END_ID], [BEGIN_ID, 5, 7, END_ID]]
    starts = np.cumsum([0, *map(len, documents)])
    tokens = Tokens(np.concatenate(documents).astype(np.uint16), starts, np.array([3, 2]))
    batch = packed(tokens, np.arange(2), 8, 4, first_targets(tokens, "answer"))
    targets_BT = batch["targets"]
    assert sorted(targets_BT[targets_BT != PAD_ID].tolist()) == [END_ID, END_ID, 7, 7]
    assert END_ID != PAD_ID
    logits_BTV = torch.randn(*targets_BT.shape, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    probabilities_BTV = logits_BTV.softmax(-1)
    by_hand = [
        -math.log(probabilities_BTV[b, t, targets_BT[b, t]]) for b, t in (targets_BT != PAD_ID).nonzero().tolist()
    ]
    assert len(by_hand) == 4
    assert float(losses.fine_tuning(logits_BTV, targets_BT)) == pytest.approx(sum(by_hand) / 4, rel=1e-12)
    assert float(losses.fine_tuning(logits_BTV, torch.full_like(targets_BT, PAD_ID))) == 0


def test_bradley_terry_by_hand() -> None:
    ours = losses.bradley_terry(torch.tensor([2.0, 0.0, 1.0]).double(), torch.tensor([1.0, 0.0, 3.0]).double())
    assert ours.loss_B.tolist() == pytest.approx([math.log(1 + math.exp(-m)) for m in (1, 0, -2)], rel=1e-12)
    assert float(ours.accuracy) == pytest.approx(1 / 3), "a tie is not in the right order"


def test_advantages_are_the_sums_of_the_formula() -> None:
    # Schulman et al. 2016, equation 16, as the double sum it is written as; TRL 1.16 has no PPO to compare with.
    generator = torch.Generator().manual_seed(0)
    reward_BT, value_BT = torch.randn(2, 3, 5, dtype=torch.float64, generator=generator)
    lengths, discount, trace = (5, 3, 1), 0.9, 0.8
    mask_BT = torch.tensor([[float(t < length) for t in range(5)] for length in lengths])
    ours = losses.generalised_advantages(reward_BT, value_BT, mask_BT, discount, trace)
    for b, length in enumerate(lengths):
        for t in range(5):
            expected = 0.0
            for k in range(length - t):
                after = value_BT[b, t + k + 1] if t + k + 1 < length else 0.0
                surprise = reward_BT[b, t + k] + discount * after - value_BT[b, t + k]
                expected += (discount * trace) ** k * float(surprise)
            assert float(ours.advantage_BT[b, t]) == pytest.approx(expected, rel=1e-12)
            returned = expected + float(value_BT[b, t]) if t < length else 0.0
            assert float(ours.return_BT[b, t]) == pytest.approx(returned, rel=1e-12)


def test_with_trace_one_the_return_is_the_sum_of_rewards() -> None:
    reward_BT, value_BT = double([[0.0, 0.0, 3.0]]), double([[9.0, -4.0, 0.5]])
    ours = losses.generalised_advantages(reward_BT, value_BT, torch.ones(1, 3), 1.0, 1.0)
    assert ours.return_BT.tolist() == [[3.0, 3.0, 3.0]]


def test_clipped_policy_by_hand() -> None:
    # (ratio, advantage) → min(ratio A, clipped ratio A): the clip holds back gains, never losses.
    cases = {(1.5, 1.0): 1.2, (1.5, -1.0): -1.5, (0.5, 1.0): 0.5, (0.5, -1.0): -0.8, (1.1, 2.0): 2.2}
    ratio, advantage = (double([list(column)]) for column in zip(*cases, strict=True))
    ours = losses.clipped_policy(ratio.log(), torch.zeros_like(ratio), advantage, 0.2)
    assert ours.loss_BT[0].tolist() == pytest.approx([-gain for gain in cases.values()], rel=1e-12)
    assert ours.clipped_BT[0].tolist() == [True, False, False, True, False]


def test_clipped_value_by_hand() -> None:
    # V, V_old, R → ½ max((V − R)², (V_near − R)²) with V_near within 0.2 of V_old.
    cases = {(1.0, 0.5, 0.0): 0.5, (1.0, 0.5, 2.0): 0.5 * 1.3**2, (0.6, 0.5, 1.0): 0.5 * 0.4**2}
    value, old, returned = (double([list(column)]) for column in zip(*cases, strict=True))
    ours = losses.clipped_value(value, old, returned, 0.2)
    assert ours.loss_BT[0].tolist() == pytest.approx(list(cases.values()), rel=1e-12)
    assert ours.clipped_BT[0].tolist() == [False, True, False]


def test_equal_rewards_have_no_advantage_and_the_loss_is_finite() -> None:
    # B64 (trl PR 5775, trl #3857): 0/0 made NaN of a group whose answers are all equally good.
    ours = losses.group_advantages(torch.full((8,), 0.7), 4)
    assert ours.advantage_B.tolist() == [0.0] * 8
    assert ours.dead_G.all()
    log_p_BT = torch.zeros(8, 3, requires_grad=True)
    loss = losses.clipped_policy(log_p_BT, torch.zeros(8, 3), ours.advantage_B[:, None], 0.2).loss_BT.sum()
    loss.backward()
    assert float(loss) == 0
    assert log_p_BT.grad is not None
    assert float(log_p_BT.grad.abs().max()) == 0
    assert float(losses.whitened(torch.full((2, 3), 0.5), torch.ones(2, 3)).abs().max()) == 0


def test_groups_of_different_scales_count_alike() -> None:
    # B64 (grpo-flat #2): over the whole batch, the second prompt's scale would drown the first one's.
    ours = losses.group_advantages(torch.tensor([0.0, 1.0, 0.0, 1000.0], dtype=torch.float64), 2)
    small, large = (spread / (spread * math.sqrt(2) + 1e-4) for spread in (0.5, 500.0))
    assert ours.advantage_B.tolist() == pytest.approx([-small, small, -large, large], rel=1e-12)
    unscaled = losses.group_advantages(torch.tensor([0.0, 1.0, 0.0, 1000.0]), 2, scaled=False)
    assert unscaled.advantage_B.tolist() == [-0.5, 0.5, -500.0, 500.0]


def test_estimates_of_a_divergence() -> None:
    # B63 (trl #1161): a "KL" that was strongly negative was k1 of a few tokens, under no name.
    generator = torch.Generator().manual_seed(0)
    policy_V, reference_V = torch.randn(2, 6, dtype=torch.float64, generator=generator).log_softmax(-1)
    exact = float((policy_V.exp() * (policy_V - reference_V)).sum())
    estimates = losses.kl_estimates(policy_V[None], reference_V[None])
    for name in ("k1", "k3"):  # without bias: their mean over the policy is the divergence
        assert float((policy_V.exp() * estimates[name][0]).sum()) == pytest.approx(exact, rel=1e-9)
    assert float(estimates["k1"].min()) < 0
    assert float(estimates["k2"].min()) >= 0
    assert float(estimates["k3"].min()) >= 0
    tiny = 1e-4 * torch.randn(1, 100_000, generator=generator)
    assert float(losses.kl_estimates(tiny, torch.zeros_like(tiny))["k3"].min()) >= 0, "not even by rounding"
    same = losses.kl_estimates(tiny, tiny)
    assert all(float(estimate.abs().max()) == 0 for estimate in same.values())


def test_the_corrected_term_has_the_gradient_of_the_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_V, reference_V = torch.randn(2, 5, dtype=torch.float64, generator=generator)
    logits_V.requires_grad_()
    log_p_V, ref_V = logits_V.log_softmax(-1), reference_V.log_softmax(-1)
    (wanted_V,) = torch.autograd.grad((log_p_V.exp() * (log_p_V - ref_V)).sum(), logits_V, retain_graph=True)
    weight_V = log_p_V.exp().detach()  # the mean over what the policy says
    for corrected in (True, False):
        term_V = losses.kl_in_loss(log_p_V, log_p_V.detach(), ref_V, corrected)
        (gradient_V,) = torch.autograd.grad((weight_V * term_V).sum(), logits_V, retain_graph=True)
        assert torch.allclose(gradient_V, wanted_V, rtol=1e-9) is corrected


def test_weights_over_tokens_and_over_answers() -> None:
    mask_BT = torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert losses.over_tokens(mask_BT).tolist() == [[0.25, 0.25, 0.25], [0.25, 0, 0]]
    assert losses.over_answers(mask_BT)[1].tolist() == [0.5, 0, 0]
    assert float(losses.over_answers(mask_BT)[0].sum()) == pytest.approx(0.5)
    # Halves of a batch, weighed by the whole, add up to it.
    loss_BT = torch.rand(2, 3)
    parts = sum((loss_BT[b : b + 1] * losses.over_answers(mask_BT[b : b + 1], 2)).sum() for b in range(2))
    assert float(parts) == pytest.approx(float((loss_BT * losses.over_answers(mask_BT)).sum()))
