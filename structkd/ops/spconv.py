"""Sparse convolution by spconv on CUDA: our rules as its index pairs, forward and backward by its kernels.

On request only: it has not been measured on a GPU here. Its CPU kernels add up rows in a race between threads, and its
backward pass asks for a CUDA stream, so on a CPU it never runs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from structkd.backends import version
from structkd.ops.precision import accumulator

if TYPE_CHECKING:
    from structkd.ops.sparse_conv import Rules


def refusals(x: Tensor | None = None, weight: Tensor | None = None, rules: Rules | None = None) -> list[str]:
    """Why spconv cannot run on these arguments of `sparse_conv`; without any, what can be said then."""
    if version("spconv") is None:  # by import name: the builds for CUDA are packages of other names
        return ["spconv is not installed"]
    if not torch.cuda.is_available():
        return ["no CUDA device"]
    if x is not None and not x.is_cuda:
        return ["spconv is right on CUDA only"]
    return []


def index_pairs(rules: Rules) -> tuple[Tensor, Tensor]:
    """[2, K, R] int32 input and output rows by offset, filled up with -1, and how many each offset has, [K] int32."""
    count = torch.tensor([before.numel() for before, _ in rules.pairs], dtype=torch.int32)
    longest = max(int(count.max()), 1)
    pairs = rules.in_coords.new_full((2, len(rules.pairs), longest), -1, dtype=torch.int32)
    for k, sides in enumerate(rules.pairs):
        for side, rows in enumerate(sides):
            pairs[side, k, : rows.numel()] = rows
    return pairs, count.to(pairs.device)


class _SpConv(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, rules: Rules) -> Tensor:
        ops = importlib.import_module("spconv.pytorch.ops")
        pairs, count = index_pairs(rules)
        filters = weight.permute(4, 0, 1, 2, 3).contiguous()  # Cout first, as spconv 2 keeps them
        ctx.save_for_backward(x, filters, pairs, count)
        # Not as a submanifold convolution: its centre then stands among the pairs like any other offset.
        out: Tensor = ops.indice_conv(x, filters, pairs, count, rules.out_coords.size(0))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ops = importlib.import_module("spconv.pytorch.ops")
        x, filters, pairs, count = ctx.saved_tensors
        of_x, of_filters = ops.indice_conv_backward(x, filters, grad.contiguous(), pairs, count)
        return of_x, of_filters.view_as(filters).permute(1, 2, 3, 4, 0), None


def spconv(x: Tensor, weight: Tensor, rules: Rules) -> Tensor:
    """As `sparse_conv`."""
    dtype = accumulator(x, weight)
    out: Tensor = _SpConv.apply(x.to(dtype), weight.to(dtype), rules)
    return out.to(x.dtype)
