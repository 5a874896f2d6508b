"""A scalar whose gradient is already known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _KnownGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None


def with_gradient(value: Tensor, z: Tensor, gradient: Tensor) -> Tensor:
    """`value` as a function of `z` whose derivative is `gradient`.

    For losses whose analytic gradient falls out of the forward pass: what forward needs is freed before backward
    starts, and backward is one multiplication. The result can be differentiated once, with respect to `z` only.

    Args:
        value: [] the scalar, computed without gradient.
        z: tensor of any shape the scalar depends on.
        gradient: d value / d z, of the shape and dtype of `z`.
    """
    return _KnownGradient.apply(z, value, gradient)
