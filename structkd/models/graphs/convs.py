"""PyG's convolutions with aggregation as one sparse product: same parameters, same results, no [E, C] messages.

A convolution here is three steps, so that layer-wise inference can run each in blocks of rows:

    transform(x) -> z                         row by row
    operator(edge_index, num_nodes, dtype)    a CSR, remembered for as long as the edges live
    assemble(csr, z, x, rows) -> out          the rows `rows` of the output, from all of z

and two identity modules, `before` and `after`, mark what enters and leaves the propagation, for taps.
State dicts have PyG's keys. Multigraphs and loops mean what they mean on PyG's own edge-list path.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric import nn as pyg
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from structkd.errors import ConfigError, nearest
from structkd.models.graphs.operators import attention_pattern, edges_for_weights, gcn_operator, mean_operator
from structkd.ops.csr import CSR, csr_of
from structkd.ops.segment import segment_softmax
from structkd.ops.sparse_features import is_sparse, linear, take_rows
from structkd.ops.spmm import spmm

ALL = slice(None)


class Convolution:
    """The three steps, mixed into a PyG layer (whose own `collect`, `aggregate` and `message` stay PyG's)."""

    in_channels: int
    out_channels: int

    def mark(self) -> None:
        self.before, self.after = nn.Identity(), nn.Identity()

    def transforms_first(self, x: Tensor) -> bool:
        """Whether W comes before propagation: when that leaves less to propagate, or x is sparse."""
        return is_sparse(x) or self.in_channels > self.out_channels

    def operator(self, edge_index: Tensor, num_nodes: int, dtype: torch.dtype) -> CSR:
        raise NotImplementedError

    def transform(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def assemble(self, csr: CSR, z: Tensor, x: Tensor, rows: slice = ALL) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        z = self.transform(x)
        return self.assemble(self.operator(edge_index, x.size(0), z.dtype), z, x)


class GCNConv(Convolution, pyg.GCNConv):
    """`D^-1/2 (A + I) D^-1/2 x W + b`, PyG's `GCNConv`.

    Args:
        in_channels, out_channels: F and C.
        add_self_loops: give every node exactly one loop; else the edges are taken as they are.
        bias: learn b.

    Shapes: `forward(x [N, F] dense or sparse CSR, edge_index [2, E], edge_weight [E] or None) -> [N, C]`. The
    weights of edges get gradients.
    """

    def __init__(self, in_channels: int, out_channels: int, add_self_loops: bool = True, bias: bool = True) -> None:
        pyg.GCNConv.__init__(self, in_channels, out_channels, add_self_loops=add_self_loops, bias=bias)
        self.mark()

    def operator(self, edge_index: Tensor, num_nodes: int, dtype: torch.dtype) -> CSR:
        return gcn_operator(edge_index, num_nodes, dtype, self.add_self_loops)

    def transform(self, x: Tensor) -> Tensor:
        return linear(x, self.lin.weight) if self.transforms_first(x) else x

    def assemble(self, csr: CSR, z: Tensor, x: Tensor, rows: slice = ALL, value: Tensor | None = None) -> Tensor:
        out = self.after(spmm(csr, self.before(z), value))
        if not self.transforms_first(x):
            out = linear(out, self.lin.weight)
        return out if self.bias is None else out + self.bias

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        if edge_weight is None:
            return super().forward(x, edge_index)
        z = self.transform(x)
        csr, value = weighted_gcn(edge_index, edge_weight, x.size(0), z.dtype, self.add_self_loops)
        return self.assemble(csr, z, x, value=value)


class SAGEConv(Convolution, pyg.SAGEConv):
    """GraphSAGE with the aggregator "mean" (PyG's `SAGEConv`) or "gcn" (the one of GLNN's teacher).

    "mean": `W_l mean of neighbours + b + W_r own`. "gcn": `W_l (sum of neighbours + own) / (deg + 1) + b`, with
    W_l drawn Xavier-uniform with ReLU gain and b zero. Loops in the edges count as neighbours in both.

    Shapes: `forward(x [N, F] dense or sparse CSR, edge_index [2, E]) -> [N, C]`.
    Errors: `ConfigError` for another aggregator.
    """

    AGGREGATORS = ("mean", "gcn")

    def __init__(self, in_channels: int, out_channels: int, aggregator: str = "mean", bias: bool = True) -> None:
        if aggregator not in self.AGGREGATORS:
            raise ConfigError(f"aggregator='{aggregator}' is not known. {nearest(aggregator, self.AGGREGATORS)}")
        self.aggregator = aggregator
        pyg.SAGEConv.__init__(self, in_channels, out_channels, root_weight=aggregator == "mean", bias=bias)
        self.mark()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.aggregator == "gcn":
            nn.init.xavier_uniform_(self.lin_l.weight, gain=nn.init.calculate_gain("relu"))
            if self.lin_l.bias is not None:
                nn.init.zeros_(self.lin_l.bias)

    def operator(self, edge_index: Tensor, num_nodes: int, dtype: torch.dtype) -> CSR:
        return mean_operator(edge_index, num_nodes, dtype, include_self=self.aggregator == "gcn")

    def transform(self, x: Tensor) -> Tensor:
        return linear(x, self.lin_l.weight) if self.transforms_first(x) else x

    def assemble(self, csr: CSR, z: Tensor, x: Tensor, rows: slice = ALL) -> Tensor:
        out = self.after(spmm(csr, self.before(z)))
        if not self.transforms_first(x):
            out = linear(out, self.lin_l.weight)
        # The bias comes after the mean: a node without neighbours gets it too.
        out = out if self.lin_l.bias is None else out + self.lin_l.bias
        return out + linear(slice_rows(x, rows), self.lin_r.weight) if self.root_weight else out


class GATConv(Convolution, pyg.GATConv):
    """Graph attention, PyG's `GATConv`: coefficients are a softmax over [E, heads], never [E, heads * C].

    Args:
        in_channels, out_channels: F and C, the features of one head.
        heads: H.
        concat: concatenate the heads; else their mean.
        negative_slope: of the LeakyReLU on raw coefficients.
        dropout: probability of dropping a normalised coefficient.
        add_self_loops, bias: as in `GCNConv`.

    Shapes: `forward(x [N, F] dense or sparse CSR, edge_index [2, E]) -> [N, H * C]`, or [N, C] if not `concat`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        add_self_loops: bool = True,
        bias: bool = True,
    ) -> None:
        pyg.GATConv.__init__(
            self, in_channels, out_channels, heads, concat, negative_slope, dropout, add_self_loops, bias=bias
        )
        self.mark()

    def operator(self, edge_index: Tensor, num_nodes: int, dtype: torch.dtype) -> CSR:
        return attention_pattern(edge_index, num_nodes, self.add_self_loops)

    def transform(self, x: Tensor) -> Tensor:
        return linear(x, self.lin.weight)

    def assemble(self, csr: CSR, z: Tensor, x: Tensor, rows: slice = ALL) -> Tensor:
        heads = self.before(z).view(-1, self.heads, self.out_channels)
        alpha = self._attention(csr, heads, rows)
        outs = [spmm(csr, heads[:, h], alpha[:, h]) for h in range(self.heads)]
        out = self.after(torch.cat(outs, dim=1) if self.concat else torch.stack(outs).mean(dim=0))
        return out if self.bias is None else out + self.bias

    def _attention(self, csr: CSR, heads: Tensor, rows: slice) -> Tensor:
        """Normalised coefficients [E, H] in the row order of `csr`."""
        source = (heads * self.att_src).sum(dim=-1)
        target = (heads[rows] * self.att_dst).sum(dim=-1)
        score = source.index_select(0, csr.col) + target.index_select(0, csr.row)
        alpha = segment_softmax(F.leaky_relu(score, self.negative_slope), csr.row, csr.shape[0])
        return F.dropout(alpha, self.dropout, self.training)


class GINConv(Convolution, pyg.GINConv):
    """`net((1 + eps) x + sum of neighbours)`, PyG's `GINConv`.

    Args:
        net: rows [N, F] -> [N, C]; under `nn` in the state dict, as in PyG.
        eps: initial value.
        train_eps: learn it.

    Shapes: `forward(x [N, F], edge_index [2, E]) -> [N, C]`.
    """

    def __init__(self, net: nn.Module, eps: float = 0.0, train_eps: bool = False) -> None:
        pyg.GINConv.__init__(self, net, eps, train_eps)
        self.mark()

    def operator(self, edge_index: Tensor, num_nodes: int, dtype: torch.dtype) -> CSR:
        return csr_of(edge_index, num_nodes)

    def transform(self, x: Tensor) -> Tensor:
        return x

    def assemble(self, csr: CSR, z: Tensor, x: Tensor, rows: slice = ALL) -> Tensor:
        return self.nn(self.after(spmm(csr, self.before(z)) + (1 + self.eps) * x[rows]))


class APPNPConv(pyg.APPNP):
    """K steps of `z <- (1 - alpha) A_hat z + alpha x` from z = x, with GCN's A_hat; PyG's `APPNP`.

    Args:
        K: steps.
        alpha: teleport probability.
        dropout: probability of dropping an entry of A_hat in a step, in training.
        add_self_loops: as in `GCNConv`.

    Shapes: `forward(x [N, C], edge_index [2, E], edge_weight [E] or None) -> [N, C]`.

    Differences: PyG drops entries of what the previous step left, so after k steps an edge survives with
    probability (1 - dropout)^k; here every step draws anew from the whole A_hat.
    """

    def __init__(self, K: int, alpha: float, dropout: float = 0.0, add_self_loops: bool = True) -> None:
        super().__init__(K, alpha, dropout, add_self_loops=add_self_loops)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        # Without weights of its own, or dropout, a step uses the operator's values, whose matrix is cached.
        value = None
        if edge_weight is None:
            csr = gcn_operator(edge_index, x.size(0), x.dtype, self.add_self_loops)
        else:
            csr, value = weighted_gcn(edge_index, edge_weight, x.size(0), x.dtype, self.add_self_loops)
        z = x
        for _ in range(self.K):
            z = (1 - self.alpha) * spmm(csr, z, self._drop(csr, value)) + self.alpha * x
        return z

    def _drop(self, csr: CSR, value: Tensor | None) -> Tensor | None:
        entries = csr.value if value is None else value
        if entries is None or not self.training or self.dropout == 0:
            return value
        return F.dropout(entries, self.dropout)


def weighted_gcn(
    edge_index: Tensor, edge_weight: Tensor, num_nodes: int, dtype: torch.dtype, self_loops: bool
) -> tuple[CSR, Tensor]:
    """A GCN operator with weighted edges: its pattern, and values [E'] for `spmm` that carry gradients."""
    csr = edges_for_weights(edge_index, num_nodes, self_loops)
    _, value = gcn_norm(edge_index, edge_weight, num_nodes, add_self_loops=self_loops, dtype=dtype)
    return csr, value


def slice_rows(x: Tensor, rows: slice) -> Tensor:
    """Rows of dense or sparse CSR features; nothing is copied where nothing need be."""
    if rows == ALL:
        return x
    return take_rows(x, torch.arange(*rows.indices(x.size(0)), device=x.device)) if is_sparse(x) else x[rows]
