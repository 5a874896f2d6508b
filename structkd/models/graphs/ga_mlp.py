"""GA-MLP: an MLP on features that were propagated beforehand."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.errors import ConfigError
from structkd.models.graphs.mlp import MLP
from structkd.models.graphs.operators import gcn_operator
from structkd.ops.spmm import spmm


@torch.no_grad()
def graph_augment(x: Tensor, edge_index: Tensor, k: int = 1, self_loops: bool = True) -> Tensor:
    """(D^-1/2 A D^-1/2)^k x, dense.

    Args:
        x: [N, F] dense or sparse CSR.
        edge_index: [2, E]. The blocks of a batch of graphs stay apart, so batches work as they are.
        k: times to propagate; 0 returns the features themselves.
        self_loops: every node has exactly one loop in A (as in the CPF graphs of GLNN); else A is the edges.

    Inductive use, as GLNN's: augment observed nodes inside the observed subgraph, then augment on the full graph
    and take from that result the rows of held-out nodes only. A held-out node so needs its neighbours' features at
    inference; that is the price of a GA-MLP beside a graph-free student.

    Errors: `ConfigError` for a negative k.
    """
    if k < 0:
        raise ConfigError(f"k={k}; features are propagated 0 or more times.")
    z = x if x.layout == torch.strided else x.to_dense()
    if k == 0:
        return z
    csr = gcn_operator(edge_index, x.size(0), x.dtype, self_loops)
    for _ in range(k):
        z = spmm(csr, z)
    return z


class GAMLP(MLP):
    """An `MLP` that reads augmented features; `augment` makes them, once, before training.

    Args:
        hops: times to propagate; GLNN's "GA1MLP" is 1. Further arguments as `MLP`.

    Shapes: `augment(x [N, F], edge_index [2, E]) -> [N, F]`, `forward(augmented x [N, F]) -> logits [N, K]`.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        dropout: float = 0.0,
        norm: str = "none",
        width: float = 1,
        hops: int = 1,
    ) -> None:
        super().__init__(in_channels, hidden_channels, out_channels, num_layers, dropout, norm, width)
        self.hops = hops

    def augment(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """`graph_augment` with this model's hops."""
        return graph_augment(x, edge_index, self.hops)
