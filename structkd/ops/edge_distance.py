"""Squared distances along edges, without a tensor of edges times channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from structkd.backends import Backend, Op
from structkd.errors import DataError
from structkd.ops.csr import CSR, check_ids
from structkd.ops.memo import TensorMemo
from structkd.ops.precision import accumulator
from structkd.ops.triton.launch import refusals

#: Numbers in each of the two working buffers: 2 MB in float32 on the CPU, where they share the caches with gathered
#: rows; on a GPU, large enough to fill it.
CHUNK = {"cpu": 1 << 19, "cuda": 1 << 24}


def edge_square_distance(x: Tensor, edge_index: Tensor, *, backend: str | None = None) -> Tensor:
    r"""Squared length of each edge, :math:`\| x[i] - x[j] \|_2^2`.

    Made of differences, so that near rows keep their digits (products would lose them where the rows share a large
    constant). The default backend goes through the edges in chunks and makes the differences again in backward; the
    extra memory is a few MB and the gradient.

    Args:
        x: [N, C] floating point; half and bfloat16 are computed in float32. Its gradient is of first order.
        edge_index: [2, E] ends of each edge.
        backend: `triton` (CUDA; its gradient is a sum over the edges of each node, in order), `chunked`, or `naive`
            (the reference; holds [E, C] several times).

    Returns:
        [E] in the dtype of `x`.

    Raises:
        DataError: shapes that do not fit, ids out of range.
    """
    if x.dim() != 2 or edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise DataError(
            f"edge_square_distance got rows {tuple(x.shape)} and edges {tuple(edge_index.shape)}; expected [N, C] and "
            "[2, E]."
        )
    check_ids("edge_index", edge_index, x.size(0))
    return EDGE_SQUARE_DISTANCE(x, edge_index, backend=backend)


def _naive(x: Tensor, edge_index: Tensor) -> Tensor:
    wide = x.to(accumulator(x))
    return (wide[edge_index[0]] - wide[edge_index[1]]).square().sum(1).to(x.dtype)


class _Chunked(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, edge_index: Tensor) -> Tensor:
        ctx.save_for_backward(x, edge_index)
        wide = x.to(accumulator(x))
        out = wide.new_empty(edge_index.size(1))
        for chunk, difference in _differences(wide, edge_index):
            torch.sum(difference.square_(), 1, out=out[chunk])
        return out.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        x, edge_index = ctx.saved_tensors
        wide = x.to(accumulator(x))
        gradient = torch.zeros_like(wide)
        twice = 2 * upstream.to(wide.dtype).unsqueeze(1)
        for chunk, difference in _differences(wide, edge_index):
            i, j = edge_index[:, chunk]
            slope = difference.mul_(twice[chunk])
            # scatter_add_ with a broadcast index adds whole rows; index_add_ is three times slower on CPU.
            gradient.scatter_add_(0, i.unsqueeze(1).expand_as(slope), slope)
            gradient.scatter_add_(0, j.unsqueeze(1).expand_as(slope), slope.neg_())
        return gradient.to(x.dtype), None


def _differences(x: Tensor, edge_index: Tensor) -> Any:
    """Some edges at a time: (their slice, x[i] - x[j]), the latter in a buffer that is used again."""
    edges = edge_index.size(1)
    size = max(1, CHUNK.get(x.device.type, CHUNK["cuda"]) // max(x.size(1), 1))
    buffers = x.new_empty(2, min(size, edges), x.size(1))
    for start in range(0, edges, size):
        chunk = slice(start, min(start + size, edges))
        a, b = buffers[:, : chunk.stop - start]
        torch.index_select(x, 0, edge_index[0, chunk], out=a)
        torch.index_select(x, 0, edge_index[1, chunk], out=b)
        yield chunk, a.sub_(b)


def _at_both_ends(edge_index: Tensor, num_nodes: int) -> CSR:
    csr = CSR.from_edges(torch.cat([edge_index, edge_index.flip(0)], 1), num_nodes)
    edge = csr.eid % max(edge_index.size(1), 1)
    return CSR(csr.rowptr, csr.col, edge, None, csr.shape)


_incident = TensorMemo(_at_both_ends)


class _Fused(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, edge_index: Tensor) -> Tensor:
        from structkd.ops.triton.edge_distance import square_distance

        ctx.save_for_backward(x, edge_index)
        return square_distance(x, edge_index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        from structkd.ops.triton.edge_distance import square_distance_backward

        x, edge_index = ctx.saved_tensors
        return square_distance_backward(x, _incident(edge_index, x.size(0)), upstream), None


EDGE_SQUARE_DISTANCE = Op(
    "edge_square_distance",
    [Backend("triton", _Fused.apply, refusals), Backend("chunked", _Chunked.apply), Backend("naive", _naive)],
)
