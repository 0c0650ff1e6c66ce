"""Rotary positions (Su et al. 2021, arXiv:2104.09864): queries and keys turned by an angle that grows with position.

Shape suffixes as in `decoder.py`.
"""

from typing import Any

import torch
from torch import Tensor, nn


class RotaryPositions(nn.Module):
    """Turn each head's pairs of numbers, the n-th of its first half with the n-th of its second.

    Args:
        head_width: E.
        positions: how many there are at most.
        theta: the base of the angles' frequencies.
    """

    def __init__(self, head_width: int, positions: int, theta: float) -> None:
        super().__init__()
        frequency_E2 = theta ** (-torch.arange(0, head_width, 2, dtype=torch.float32) / head_width)
        angle_TE = torch.outer(torch.arange(positions, dtype=torch.float32), frequency_E2).repeat(1, 2)
        self.cos_T1E: Tensor
        self.sin_T1E: Tensor
        self.register_buffer("cos_T1E", angle_TE.cos()[:, None], persistent=False)
        self.register_buffer("sin_T1E", angle_TE.sin()[:, None], persistent=False)

    def forward(self, x_BTHE: Tensor) -> Tensor:
        T = x_BTHE.shape[1]
        cos_T1E, sin_T1E = (part[:T].to(x_BTHE.dtype) for part in (self.cos_T1E, self.sin_T1E))
        if torch.compiler.is_compiling():
            return _turned(x_BTHE, cos_T1E, sin_T1E)
        turned_BTHE: Tensor = _Turn.apply(x_BTHE, cos_T1E, sin_T1E)  # type: ignore[no-untyped-call]
        return turned_BTHE


class _Turn(torch.autograd.Function):
    """The gradient of a turn is turned back: no intermediate result is kept."""

    @staticmethod
    def forward(ctx: Any, x_BTHE: Tensor, cos_T1E: Tensor, sin_T1E: Tensor) -> Tensor:
        ctx.save_for_backward(cos_T1E, sin_T1E)
        return _turned(x_BTHE, cos_T1E, sin_T1E)

    @staticmethod
    def backward(ctx: Any, gradient_BTHE: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        cos_T1E, sin_T1E = ctx.saved_tensors
        return _turned(gradient_BTHE, cos_T1E, -sin_T1E), None, None


def _turned(x_BTHE: Tensor, cos_T1E: Tensor, sin_T1E: Tensor) -> Tensor:
    half, heads = x_BTHE.shape[-1] // 2, x_BTHE.shape[-2]
    first_T12, second_T12 = sin_T1E.chunk(2, dim=-1)
    # Repeated for each head, so that the products run over a whole row without a stop at each head's end.
    cos_THE = cos_T1E.repeat(1, heads, 1)
    sin_THE = torch.cat((-first_T12, second_T12), dim=-1).repeat(1, heads, 1)
    return x_BTHE * cos_THE + x_BTHE.roll(half, dims=-1) * sin_THE
