"""Graph classification: a GNN teacher and an MLP student, both pooling their nodes."""

from __future__ import annotations

from torch import Tensor, nn

from structkd.errors import ConfigError, nearest
from structkd.models.graphs.convs import GCNConv, GINConv
from structkd.models.graphs.linear import Dropout, Linear, make_norm, reset
from structkd.models.graphs.mlp import MLP, layer_shapes
from structkd.ops.segment import segment_max, segment_mean, segment_sum

POOLINGS = {"sum": segment_sum, "mean": segment_mean, "max": segment_max}


def pool(x: Tensor, batch: Tensor, num_graphs: int | None, pooling: str) -> Tensor:
    """Nodes [N, C] of graphs `batch` [N] -> graphs [G, C]; G is `num_graphs`, or one more than the last id."""
    if num_graphs is None:
        num_graphs = int(batch.max()) + 1 if batch.numel() else 0
    return POOLINGS[pooling](x, batch, num_graphs)


def _check(word: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{word}='{value}' is not known. {nearest(value, known)}")


class GraphClassifier(nn.Module):
    """Convolution -> [norm] -> ReLU -> dropout, repeated; nodes pooled; a linear head.

    Args:
        in_channels, hidden_channels, out_channels: features of a node F, of a hidden node H, classes K.
        num_layers: convolutions, at least 1.
        dropout: probability of zeroing a hidden feature.
        norm: "none", "batch" or "layer".
        conv: "gin" (each with a two-layer MLP; Xu et al., "How Powerful are Graph Neural Networks?", ICLR 2019)
            or "gcn".
        pooling: "sum", "mean" or "max".

    Shapes: x [N, F], edge_index [2, E], batch [N] int64, num_graphs (optional) -> `{"logits": [G, K], "x": [N, H]}`.
    A graph without nodes is legal and pools to zero. Taps: `convs.{l}`, `norms.{l}`, `acts.{l}`, `head`.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 3,
        dropout: float = 0.0,
        norm: str = "batch",
        conv: str = "gin",
        pooling: str = "sum",
    ) -> None:
        super().__init__()
        _check("conv", conv, ("gin", "gcn"))
        _check("pooling", pooling, tuple(POOLINGS))
        shapes = layer_shapes(in_channels, hidden_channels, hidden_channels, num_layers)
        self.convs = nn.ModuleList(
            GINConv(MLP(i, o, o, 2, norm=norm)) if conv == "gin" else GCNConv(i, o) for i, o in shapes
        )
        self.norms = nn.ModuleList(make_norm(norm, hidden_channels) for _ in self.convs)
        self.acts = nn.ModuleList(nn.ReLU() for _ in self.convs)
        self.drops = nn.ModuleList(nn.Dropout(dropout) for _ in self.convs)
        self.head = Linear(hidden_channels, out_channels)
        self.pooling = pooling

    def reset_parameters(self) -> None:
        reset(self.convs, self.norms, self.head)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor, num_graphs: int | None = None) -> dict[str, Tensor]:
        for conv, norm, act, drop in zip(self.convs, self.norms, self.acts, self.drops):
            x = drop(act(norm(conv(x, edge_index))))
        return {"logits": self.head(pool(x, batch, num_graphs, self.pooling)), "x": x}


class GraphMLP(nn.Module):
    """An MLP on every node, nodes pooled, a linear head: the graph-level student, which reads no edges.

    Give it features from `graph_augment` and it is the GA-MLP that MuGSI (Yao et al., WWW 2024) distils into.

    Args:
        in_channels, hidden_channels, out_channels: F, H, K; H equal to the teacher's lets nodes be compared.
        num_layers: linear layers before pooling, each with [norm], ReLU and dropout.
        dropout, norm, pooling: as in `GraphClassifier`.

    Shapes: x [N, F] dense or sparse CSR, batch [N] int64, num_graphs (optional) -> `{"logits": [G, K], "x": [N, H]}`.
    Taps: `mlp.lins.{l}`, `act`, `head`.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 3,
        dropout: float = 0.0,
        norm: str = "batch",
        pooling: str = "sum",
    ) -> None:
        super().__init__()
        _check("pooling", pooling, tuple(POOLINGS))
        self.mlp = MLP(in_channels, hidden_channels, hidden_channels, num_layers, dropout, norm)
        self.norm = make_norm(norm, hidden_channels)
        self.act = nn.ReLU()
        self.drop = Dropout(dropout)
        self.head = Linear(hidden_channels, out_channels)
        self.pooling = pooling

    def reset_parameters(self) -> None:
        reset(self.mlp, self.norm, self.head)

    def forward(self, x: Tensor, batch: Tensor, num_graphs: int | None = None) -> dict[str, Tensor]:
        x = self.drop(self.act(self.norm(self.mlp(x))))
        return {"logits": self.head(pool(x, batch, num_graphs, self.pooling)), "x": x}
