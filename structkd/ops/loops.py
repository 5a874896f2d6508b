"""Edges with one loop at every node, made once for each edge list."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.utils import add_remaining_self_loops

from structkd.ops.memo import TensorMemo


def with_self_loops(edge_index: Tensor, num_nodes: int) -> Tensor:
    """[2, E'] the edges with exactly one loop at each of `num_nodes` nodes; loops come last.

    Remembered by the identity of `edge_index`, so that what is derived from the result is derived once as well.
    """
    return _looped(edge_index, num_nodes)


_looped = TensorMemo(lambda edge_index, num_nodes: add_remaining_self_loops(edge_index, num_nodes=num_nodes)[0])
