r"""Edge layers that are applied to points instead of edges.

A linear layer on the two ends of an edge, `W [x_j ; x_i]` (1x1 convolution over neighbour and centre), is a sum
`u_j + v_i` of what it makes of each point, and so is its batch normalisation. What follows takes such terms: u [M, C']
of all points, v [N, C'] of the N centres, and `index` [N, K], the rows of u that are each centre's neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from structkd.backends import Backend, Op
from structkd.errors import ConfigError, DataError
from structkd.ops.csr import CSR
from structkd.ops.memo import TensorMemo
from structkd.ops.precision import accumulator
from structkd.ops.spmm import spmm
from structkd.ops.triton.launch import refusals

FUSE = ("identity", "sub")
REDUCE = ("none", "max")
#: Numbers of the gathered neighbours that a maximum is taken over at once.
CHUNK = {"cpu": 1 << 17, "cuda": 1 << 24}


def edge_layer(
    x: Tensor,
    center: Tensor,
    index: Tensor,
    weight: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    fuse: str = "identity",
    reduce: str = "none",
) -> Tensor:
    r"""Features of edges: e_ij = ReLU(BN(W [x_j ; x_i])), as EdgeConv (Wang et al., "Dynamic Graph CNN", 2019) has it.

    The same numbers as a 1x1 `Conv2d` without bias on the concatenation, `BatchNorm2d` and ReLU; the layer is applied
    once to each point, and [N, K, 2C] is never there.

    Args:
        x: [M, C] points.
        center: [N] row of `x` that each centre is.
        index: [N, K] rows of `x` that are its neighbours.
        weight: [C', 2C], for the neighbour's channels and then the centre's.
        gamma, beta, running_mean, running_var, training, momentum, eps: as for `edge_batch_norm`.
        fuse: what is concatenated, "identity" for [x_j ; x_i] or "sub" for [x_i - x_j ; x_i].
        reduce: "none", or "max" over the K neighbours, which does not hold [N, K, C'] either.

    Returns:
        [N, K, C'], or [N, C'] with reduce="max".

    Raises:
        DataError: shapes that do not fit.
        ConfigError: unknown `fuse` or `reduce`.
    """
    u, v = edge_terms(x, center, weight, fuse)
    u, v = edge_batch_norm(
        u, v, index, gamma, beta, running_mean, running_var, training=training, momentum=momentum, eps=eps
    )
    return edges_of(u, v, index, reduce)


def edge_terms(x: Tensor, center: Tensor, weight: Tensor, fuse: str = "identity") -> tuple[Tensor, Tensor]:
    """The terms of a linear layer on edges: u [M, C'] of every point and v [N, C'] of every centre."""
    if x.dim() != 2 or weight.dim() != 2 or weight.size(1) != 2 * x.size(1):
        raise DataError(
            f"An edge layer got points {tuple(x.shape)} and a weight {tuple(weight.shape)}; expected [M, C] and "
            "[C', 2C], for the channels of neighbour and centre."
        )
    if fuse not in FUSE:
        raise ConfigError(f"fuse is '{fuse}'; expected one of {', '.join(FUSE)}.")
    first, second = weight.chunk(2, dim=1)
    if fuse == "sub":
        first, second = -first, first + second
    return F.linear(x, first), F.linear(x[center], second)


def edge_moments(u: Tensor, v: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of u_j + v_i over all edges, [C'] each; differentiable.

    From sums over points: with both terms centred, the variance is that of u by how often each point is a neighbour,
    that of v, and twice their covariance, one sparse product. Zero without edges.
    """
    _check(u, v, index)
    edges = max(index.numel(), 1)
    # Sums over rows, not products with a vector: those depend on the number of threads.
    count = torch.bincount(index.flatten(), minlength=u.size(0)).to(u.dtype).unsqueeze(1)
    mean_u, mean_v = (count * u).sum(0) / edges, v.sum(0) * index.size(1) / edges
    u, v = u - mean_u, v - mean_v
    squares = (count * u.square()).sum(0) + index.size(1) * v.square().sum(0)
    products = (v * spmm(neighbor_rows(index, u.size(0)), u)).sum(0)
    return mean_u + mean_v, ((squares + 2 * products) / edges).clamp(min=0)


def edge_batch_norm(
    u: Tensor,
    v: Tensor,
    index: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """Batch normalisation over all edges: the terms of the normalised edges.

    Args:
        u, v, index: terms and neighbours; half and bfloat16 are normalised in float32.
        gamma, beta: [C'] scale and shift. Default: 1 and 0.
        running_mean, running_var: [C'] moved in place by `momentum` towards the edges' mean and unbiased variance
            when training, and used instead of those when not. Without them the edges' own always serve.
        eps: added to the variance.

    Returns:
        (u, v) of the same shapes. A single edge is at its mean; without edges nothing is normalised.
    """
    dtype = accumulator(u, v)
    u, v = u.to(dtype), v.to(dtype)
    if training or running_mean is None or running_var is None:
        if index.numel() == 0:
            return u, v
        mean, var = edge_moments(u, v, index)
        if running_mean is not None and running_var is not None:
            unbiased = var.detach() * (index.numel() / max(index.numel() - 1, 1))
            running_mean.lerp_(mean.detach().to(running_mean), momentum)
            running_var.lerp_(unbiased.to(running_var), momentum)
    else:
        mean, var = running_mean.to(dtype), running_var.to(dtype)
    scale = (var + eps).rsqrt()
    if gamma is not None:
        scale = scale * gamma
    # What is taken from one term and given to the other changes no edge, but both stay small where scale is large.
    middle = u.detach().mean(0)
    u, v = (u - middle) * scale, (v + (middle - mean)) * scale
    return u, v if beta is None else v + beta


def edges_of(u: Tensor, v: Tensor, index: Tensor, reduce: str = "none") -> Tensor:
    """ReLU(u_j + v_i) of every edge, [N, K, C'], or its maximum over a centre's neighbours, [N, C'].

    The maximum is zero for a centre without neighbours; its gradient goes to the first neighbour that reaches it.
    """
    _check(u, v, index)
    if reduce == "none":
        return (u[index] + v.unsqueeze(1)).relu()
    if reduce != "max":
        raise ConfigError(f"reduce is '{reduce}'; expected one of {', '.join(REDUCE)}.")
    if index.size(1) == 0:
        return torch.zeros_like(v)
    # ReLU and the centre's own term keep the order of the neighbours.
    return (NEIGHBOR_MAX(u, index) + v).relu()


Finder = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class _NeighborMax(Function):
    @staticmethod
    def forward(ctx: Any, find: Finder, u: Tensor, index: Tensor) -> Tensor:
        largest, winner = find(u, index)
        ctx.save_for_backward(winner)
        ctx.points = u.size(0)
        return largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (winner,) = ctx.saved_tensors
        # One row more takes what is nobody's.
        grad_u = grad.new_zeros(ctx.points + 1, grad.size(1))
        return None, grad_u.scatter_add_(0, winner, grad)[:-1], None


def _find_blocked(u: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """[N, C'] maxima over each centre's neighbours, and the rows of u that they are of."""
    step = max(1, CHUNK.get(u.device.type, CHUNK["cuda"]) // max(index.size(1) * u.size(1), 1))
    found = [u[rows].max(1) for rows in index.split(step)]
    largest = torch.cat([block.values for block in found])
    place = torch.cat([block.indices for block in found])
    return largest, index.gather(1, place)


def _find_triton(u: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    from structkd.ops.triton.segment import row_max

    return row_max(neighbor_rows(index, u.size(0)), u)


def _blocked_max(u: Tensor, index: Tensor) -> Tensor:
    return _NeighborMax.apply(_find_blocked, u, index)


def _triton_max(u: Tensor, index: Tensor) -> Tensor:
    return _NeighborMax.apply(_find_triton, u, index)


def _compressed(index: Tensor, num_points: int) -> CSR:
    """Neighbours as the compressed rows they are: one row a centre, K entries each."""
    rowptr = torch.arange(index.size(0) + 1, device=index.device) * index.size(1)
    entries = torch.arange(index.numel(), device=index.device)
    # A copy: a view would keep `index` alive, and with it this entry of the memo.
    return CSR(rowptr, index.flatten().clone(), entries, None, (index.size(0), num_points))


#: Both sides of a distiller share the neighbours, and so the transpose that their gradients need.
neighbor_rows = TensorMemo(_compressed)


def _check(u: Tensor, v: Tensor, index: Tensor) -> None:
    if u.dim() != 2 or v.dim() != 2 or index.dim() != 2 or u.size(1) != v.size(1) or index.size(0) != v.size(0):
        raise DataError(
            f"An edge layer got terms {tuple(u.shape)} and {tuple(v.shape)} with neighbours {tuple(index.shape)}; "
            "expected [M, C'] of points, [N, C'] of centres and [N, K]."
        )


#: Maximum [N, C'] over the neighbours [N, K], at least one, of rows [M, C'].
NEIGHBOR_MAX = Op("neighbor_max", [Backend("triton", _triton_max, refusals), Backend("blocked", _blocked_max)])
