"""The unordered pairs behind a list of directed edges, for what is symmetric in the two ends."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.errors import DataError
from structkd.ops.csr import CSR, check_ids
from structkd.ops.memo import TensorMemo


class Pairs:
    """Every unordered pair {i, j} that some edge joins, once, sorted by i and then by j.

    A sum over edges of anything symmetric is a sum over pairs with the edges' weights added up, whether the list
    holds both directions, one, or parallel edges: an undirected graph is visited once instead of twice. Sorted pairs
    read neighbouring rows one after another.

    Attributes:
        i, j: [P] the ends, i <= j; int32 where the ids allow it.
        count: [P] int32, number of edges that join the pair, in both directions together.
    """

    def __init__(self, i: Tensor, j: Tensor, count: Tensor) -> None:
        self.i, self.j, self.count = i, j, count


def pairs_of(edge_index: Tensor, num_nodes: int) -> Pairs:
    """The pairs of an edge list [2, E], computed once for as long as `edge_index` lives unchanged."""
    return _pairs(edge_index, num_nodes)


def sum_by_pair(edge_index: Tensor, num_nodes: int, value: Tensor) -> Tensor:
    """Add up the values [E] of the edges that join each pair, [P] in the order of `pairs_of`."""
    if value.shape != edge_index.shape[1:]:
        raise DataError(f"Edge values have shape {tuple(value.shape)}; expected [{edge_index.size(1)}], one an edge.")
    total = value.new_zeros(pairs_of(edge_index, num_nodes).i.numel())
    return total.index_add_(0, _pair_of_edge(edge_index, num_nodes), value)


def both_ways(edge_index: Tensor, num_nodes: int) -> CSR:
    """Compressed rows that hold each pair of an edge list at both of its ends, loops left out.

    `eid` is the number of the pair; that and `col` are int32 where the ids allow it. Computed once, as `pairs_of`.
    """
    return _both_ways(edge_index, num_nodes)


def _turn(edge_index: Tensor, num_nodes: int) -> CSR:
    pairs = pairs_of(edge_index, num_nodes)
    proper = (pairs.i != pairs.j).nonzero().squeeze(1)
    i, j = pairs.i[proper], pairs.j[proper]
    row, pair = torch.cat([i, j]), torch.cat([proper, proper])
    order = torch.sort(row, stable=True).indices
    count = torch.bincount(row, minlength=num_nodes)
    rowptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    narrow = pair.int() if pairs.i.numel() < 2**31 else pair
    return CSR(rowptr, torch.cat([j, i])[order], narrow[order], None, (num_nodes, num_nodes))


def _build(edge_index: Tensor, num_nodes: int) -> Pairs:
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise DataError(f"edge_index has shape {tuple(edge_index.shape)}; expected [2, E].")
    check_ids("edge_index", edge_index, num_nodes)
    key = _keys(edge_index, num_nodes)
    if key.device.type == "cpu":
        key.numpy().sort()  # in place; torch's sort, no faster, holds the list four times over
    else:
        key = key.sort().values
    key, count = torch.unique_consecutive(key, return_counts=True)
    narrow = torch.int32 if num_nodes <= torch.iinfo(torch.int32).max else torch.int64
    j = key.remainder(num_nodes).to(narrow) if num_nodes else key.to(narrow)
    i = key.div_(max(num_nodes, 1), rounding_mode="floor").to(narrow)
    return Pairs(i, j, count.to(torch.int32))


def _find(edge_index: Tensor, num_nodes: int) -> Tensor:
    pairs = pairs_of(edge_index, num_nodes)
    known = pairs.i.long().mul_(num_nodes).add_(pairs.j)
    return torch.searchsorted(known, _keys(edge_index, num_nodes), out_int32=known.numel() < 2**31)


def _keys(edge_index: Tensor, num_nodes: int) -> Tensor:
    low, high = edge_index.amin(0).long(), edge_index.amax(0).long()
    return low.mul_(num_nodes).add_(high)


_pairs = TensorMemo(_build)
_both_ways = TensorMemo(_turn)
_pair_of_edge = TensorMemo(_find)
