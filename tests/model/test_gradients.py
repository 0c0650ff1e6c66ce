"""Gradients that are written out by hand are those of the formula."""

import pytest
import torch
from torch import nn

from nudge.model.norm import RMSNorm
from nudge.model.rotary import RotaryPositions


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_norm_is_torchs_and_its_gradient_is_that_of_the_formula(random: torch.Generator) -> None:
    # A mean that is taken over rows instead of the width, or a gain that is forgotten, trains to another place.
    own, theirs = RMSNorm(6, eps=1e-3).double(), nn.RMSNorm(6, eps=1e-3).double()
    x_BTD = torch.randn(2, 3, 6, generator=random, dtype=torch.float64)
    with torch.no_grad():
        for norm in (own, theirs):
            norm.weight.copy_(torch.arange(1.0, 7.0))
    assert torch.equal(own(x_BTD), theirs(x_BTD))
    assert torch.equal(own(x_BTD[0, 0]), theirs(x_BTD[0, 0])), "without rows"

    def normed(x_BTD: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(own, {"weight": weight}, (x_BTD,))

    assert torch.autograd.gradcheck(normed, (x_BTD.requires_grad_(), own.weight))
    assert torch.autograd.gradcheck(normed, (x_BTD[0, 0].detach().requires_grad_(), own.weight)), "without rows"
    (slope_BTD,) = torch.autograd.grad(own(x_BTD).square().sum(), x_BTD, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):  # and no wrong number
        slope_BTD.sum().backward()


@pytest.mark.parametrize("heads", [1, 3])
def test_turning_keeps_lengths_and_its_gradient_turns_back(heads: int, random: torch.Generator) -> None:
    # A sign that is wrong in the backward pass alone leaves every prediction right and every step wrong.
    rotary = RotaryPositions(4, 5, 10_000.0).double()
    x_BTHE = torch.randn(2, 5, heads, 4, generator=random, dtype=torch.float64).requires_grad_()
    turned_BTHE = rotary(x_BTHE)
    assert torch.equal(turned_BTHE[:, 0], x_BTHE[:, 0]), "the first position is not turned"
    assert not torch.allclose(turned_BTHE[:, 1:], x_BTHE[:, 1:])
    assert torch.allclose(turned_BTHE.norm(dim=-1), x_BTHE.norm(dim=-1))
    assert torch.autograd.gradcheck(rotary, x_BTHE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_keep_the_type_that_they_are_given(dtype: torch.dtype) -> None:
    x_BTHE = torch.ones(1, 2, 1, 4, dtype=dtype)
    assert RotaryPositions(4, 5, 10_000.0)(x_BTHE).dtype == dtype
    assert RMSNorm(4, eps=1e-6).to(dtype)(x_BTHE).dtype == dtype
