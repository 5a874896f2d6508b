"""Squared difference of two edge layers, without a tensor of edges times channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from structkd.backends import Backend, Op
from structkd.errors import DataError
from structkd.ops.edge_layer import edges_of, neighbor_rows
from structkd.ops.known_gradient import with_gradient
from structkd.ops.precision import accumulator
from structkd.ops.triton.launch import refusals, too_wide

#: Numbers in each of the four working buffers; on the CPU all of them fit the second-level cache.
CHUNK = {"cpu": 1 << 17, "cuda": 1 << 24}
Terms = tuple[Tensor, Tensor]


def edge_difference(
    student: Terms, teacher: Terms, index: Tensor, weight: Tensor | None = None, *, backend: str | None = None
) -> Tensor:
    r"""How far the edges of two layers are apart.

    .. math:: L = \sum_i w_i \sum_{j \in NN(i)} \| ReLU(u^t_j + v^t_i) - ReLU(u^s_j + v^s_i) \|^2

    The default backend visits the centres in blocks and adds up loss and gradients at once (each edge's derivative is
    twice its difference where its ReLU is open), so backward only scales. Extra memory: the gradients, [M, C'] and
    [N, C'] of each side that learns, and four blocks. Centres of weight zero are not visited.

    Args:
        student, teacher: (u [M, C'], v [N, C']) terms of points and of centres, see `structkd.ops.edge_layer`. Either
            may learn (gradients of first order); half and bfloat16 are computed in float32.
        index: [N, K] rows of the u that are each centre's neighbours.
        weight: [N] a constant. Default: ones.
        backend: `triton` (CUDA; visits the edges from their centres and, for the gradient of u, from their points, so
            that every gradient is a sum in registers: deterministic, no atomics), `blocked`, or `naive` (the
            reference; holds [N, K, C'] several times).

    Returns:
        A scalar; 0 without edges.

    Raises:
        DataError: shapes that do not match.
    """
    (u_s, v_s), (u_t, v_t) = student, teacher
    if u_s.shape != u_t.shape or v_s.shape != v_t.shape or u_s.dim() != 2 or v_s.shape[1:] != u_s.shape[1:]:
        shapes = ", ".join(str(tuple(term.shape)) for term in (u_s, v_s, u_t, v_t))
        raise DataError(f"edge_difference got terms {shapes}; expected [M, C'] and [N, C'], the same of both sides.")
    if index.dim() != 2 or index.size(0) != v_s.size(0):
        raise DataError(
            f"index has shape {tuple(index.shape)}; expected [{v_s.size(0)}, K], the neighbours of each centre."
        )
    if weight is not None and weight.shape != index.shape[:1]:
        raise DataError(f"weight has shape {tuple(weight.shape)}; expected [{index.size(0)}], one a centre.")
    return EDGE_DIFFERENCE(u_s, v_s, u_t, v_t, index, weight, backend=backend)


def _naive(u_s: Tensor, v_s: Tensor, u_t: Tensor, v_t: Tensor, index: Tensor, weight: Tensor | None) -> Tensor:
    dtype = accumulator(u_s, v_s, u_t, v_t)
    u_s, v_s, u_t, v_t = (term.to(dtype) for term in (u_s, v_s, u_t, v_t))
    distance = (edges_of(u_s, v_s, index) - edges_of(u_t, v_t, index)).square().sum((1, 2))
    if weight is None:
        return distance.sum()
    with torch.autocast(distance.device.type, enabled=False):
        return distance @ weight.detach().to(dtype)


def _blocked(u_s: Tensor, v_s: Tensor, u_t: Tensor, v_t: Tensor, index: Tensor, weight: Tensor | None) -> Tensor:
    dtype = accumulator(u_s, v_s, u_t, v_t)
    sides = ((u_s, v_s), (u_t, v_t))
    learns = [torch.is_grad_enabled() and (u.requires_grad or v.requires_grad) for u, v in sides]
    with torch.no_grad(), torch.autocast(v_s.device.type, enabled=False):
        weight = torch.ones_like(v_s[:, 0], dtype=dtype) if weight is None else weight.to(dtype)
        visited = weight.nonzero().flatten()
        terms = [(u.to(dtype), v.to(dtype)[visited]) for u, v in sides]
        gradients = [
            (torch.zeros_like(u), torch.zeros_like(v)) if side else None for side, (u, v) in zip(learns, terms)
        ]
        value = _visit(terms, index[visited], weight[visited], gradients)
    for (u, v), gradient in zip(sides, gradients):
        if gradient is not None:
            of_v = torch.zeros_like(v, dtype=dtype).index_copy_(0, visited, gradient[1])
            for leaf, slope in ((u, gradient[0]), (v, of_v)):
                value = value + with_gradient(torch.zeros_like(value), leaf, slope.to(leaf.dtype))
    return value


def _triton(u_s: Tensor, v_s: Tensor, u_t: Tensor, v_t: Tensor, index: Tensor, weight: Tensor | None) -> Tensor:
    from structkd.ops.triton.edge_difference import one_end

    dtype = accumulator(u_s, v_s, u_t, v_t)
    grad = torch.is_grad_enabled()
    of_u, of_v = ((grad and a.requires_grad, grad and b.requires_grad) for a, b in ((u_s, u_t), (v_s, v_t)))
    with torch.no_grad():
        weight = torch.ones_like(v_s[:, 0], dtype=dtype) if weight is None else weight.to(dtype).contiguous()
        csr = neighbor_rows(index, u_s.size(0))
        u, v = (u_s.detach(), u_t.detach()), (v_s.detach(), v_t.detach())
        value, slopes_v = one_end(csr, v, u, weight, of_v, centers=True)
        slopes_u: list[Tensor | None] = [None, None]
        if any(of_u):
            _, slopes_u = one_end(csr.t(), u, v, weight, of_u, centers=False)
    assert value is not None
    for leaf, slope in zip((u_s, u_t, v_s, v_t), slopes_u + slopes_v):
        if slope is not None:
            value = value + with_gradient(torch.zeros_like(value), leaf, slope)
    return value


def _no_triton(u_s: Tensor | None = None, *terms: Tensor | None) -> list[str]:
    return refusals(u_s, *terms) or ([] if u_s is None else too_wide(u_s.size(1)))


def _visit(sides: Sequence[Terms], index: Tensor, weight: Tensor, gradients: Sequence[Terms | None]) -> Tensor:
    """Loss of all edges; the derivatives by each side's terms are added to what `gradients` holds for it.

    Every intermediate of the size of a block lives in one of the four buffers.
    """
    (u, v), neighbors = sides[0], index.size(1)
    size = max(1, CHUNK.get(u.device.type, CHUNK["cuda"]) // max(neighbors * u.size(1), 1))
    buffers = u.new_empty(4, min(size, v.size(0)), neighbors, u.size(1))
    total = [u.new_zeros(())]
    for start in range(0, v.size(0), size):
        block = slice(start, start + size)
        rows, scale = index[block].flatten(), weight[block]
        *edges, difference, spare = buffers[:, : scale.numel()]
        for (u, v), edge in zip(sides, edges):
            torch.index_select(u, 0, rows, out=edge.view(rows.numel(), -1))
            edge.add_(v[block].unsqueeze(1)).relu_()
        torch.sub(*edges, out=difference)
        total.append(torch.mul(difference, difference, out=spare).sum((1, 2)) @ scale)
        difference.mul_(2 * scale.view(-1, 1, 1))
        for edge, gradient, sign in zip(edges, gradients, (1, -1)):
            if gradient is not None:
                torch.ops.aten.threshold_backward.grad_input(difference, edge, 0, grad_input=edge)
                gradient[1][block] = edge.sum(1).mul_(sign)
                gradient[0].index_add_(0, rows, edge.view(rows.numel(), -1), alpha=sign)
    return torch.stack(total).sum()


EDGE_DIFFERENCE = Op(
    "edge_difference", [Backend("triton", _triton, _no_triton), Backend("blocked", _blocked), Backend("naive", _naive)]
)
