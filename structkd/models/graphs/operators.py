"""Propagation operators: the fixed sparse matrices by which convolutions aggregate, built once a graph.

Each is remembered for as long as its `edge_index` lives unchanged (see `structkd.ops.memo`), so that layers ask for
it in every forward pass. Parallel edges count each. Entries stand in row order: a `value=` given to `spmm` with an
operator follows `csr.row` and `csr.col`, `edges_for_weights` excepted.
"""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.ops.csr import CSR
from structkd.ops.memo import TensorMemo


def gcn_operator(edge_index: Tensor, num_nodes: int, dtype: torch.dtype, self_loops: bool = True) -> CSR:
    """D^-1/2 A D^-1/2 with D the number of incoming edges; a node without any has a zero row and column.

    Args:
        edge_index: [2, E], source -> target.
        num_nodes: N.
        dtype: of the coefficients; half types are taken up to float32.
        self_loops: every node gets exactly one loop in A, whatever loops the edges hold; else A is taken as it is.
    """
    return _gcn(edge_index, num_nodes, torch.promote_types(dtype, torch.float32), self_loops)


def mean_operator(edge_index: Tensor, num_nodes: int, dtype: torch.dtype, include_self: bool = False) -> CSR:
    """Mean over the sources of incoming edges; with `include_self` the node itself counts once more.

    A node without sources (and without itself) has a zero row.
    """
    return _mean(edge_index, num_nodes, torch.promote_types(dtype, torch.float32), include_self)


def attention_pattern(edge_index: Tensor, num_nodes: int, self_loops: bool = True) -> CSR:
    """The edges with exactly one loop a node (or as they are), without values."""
    return _pattern(edge_index, num_nodes, self_loops)


def edges_for_weights(edge_index: Tensor, num_nodes: int, self_loops: bool = True) -> CSR:
    """The edges, whose `value=` follows PyG's `gcn_norm`: those that are no loops, then one loop a node (or as is).

    The one operator that stands in the order of an edge list.
    """
    return _for_weights(edge_index, num_nodes, self_loops)


def row_block(csr: CSR, start: int, stop: int) -> CSR:
    """Rows `start` to `stop` of an operator as an operator of their own; shares the memory of its columns."""
    first, last = int(csr.rowptr[start]), int(csr.rowptr[stop])
    value = None if csr.value is None else csr.value[first:last]
    eid = torch.arange(last - first, device=csr.device)
    return CSR(csr.rowptr[start : stop + 1] - first, csr.col[first:last], eid, value, (stop - start, csr.shape[1]))


def _edges(edge_index: Tensor, num_nodes: int, drop: bool, add: bool) -> CSR:
    """Compressed edges with loops dropped and one loop a node added, as asked."""
    edges = edge_index[:, edge_index[0] != edge_index[1]] if drop else edge_index
    if add:
        loops = torch.arange(num_nodes, device=edge_index.device).expand(2, -1)
        edges = torch.cat([edges, loops], dim=1)
    return CSR.from_edges(edges, num_nodes)


def _in_row_order(csr: CSR, value: Tensor | None = None) -> CSR:
    return CSR(csr.rowptr, csr.col, torch.arange(csr.num_edges, device=csr.device), value, csr.shape)


def _build_gcn(edge_index: Tensor, num_nodes: int, dtype: torch.dtype, self_loops: bool) -> CSR:
    csr = _edges(edge_index, num_nodes, drop=self_loops, add=self_loops)
    degree = csr.degree().to(dtype)
    scale = torch.where(degree > 0, degree.clamp(min=1).rsqrt(), 0)
    return _in_row_order(csr, scale[csr.row] * scale[csr.col])


def _build_mean(edge_index: Tensor, num_nodes: int, dtype: torch.dtype, include_self: bool) -> CSR:
    csr = _edges(edge_index, num_nodes, drop=False, add=include_self)
    return _in_row_order(csr, csr.degree().to(dtype).reciprocal()[csr.row])


def _build_pattern(edge_index: Tensor, num_nodes: int, self_loops: bool) -> CSR:
    return _in_row_order(_edges(edge_index, num_nodes, drop=self_loops, add=self_loops))


def _build_for_weights(edge_index: Tensor, num_nodes: int, self_loops: bool) -> CSR:
    return _edges(edge_index, num_nodes, drop=self_loops, add=self_loops)


_gcn = TensorMemo(_build_gcn)
_mean = TensorMemo(_build_mean)
_pattern = TensorMemo(_build_pattern)
_for_weights = TensorMemo(_build_for_weights)
