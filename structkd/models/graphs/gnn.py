"""GNN teachers: GCN, GraphSAGE, GAT and APPNP for node classification."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from structkd.errors import ConfigError
from structkd.models.graphs.convs import APPNPConv, GATConv, GCNConv, SAGEConv
from structkd.models.graphs.linear import Dropout, make_norm, reset
from structkd.models.graphs.mlp import MLP, layer_shapes


class GNN(nn.Module):
    """What the layered GNNs share: convolutions, and row-wise work behind each but the last.

    Taps: `convs.{l}` is the output of convolution l before norm and activation, `acts.{l}` after activation,
    `norms.{l}` after norm (an identity for norm "none"); `acts.{L-2}` is the last hidden state that NOSMOG and
    VQGraph read. `convs.{l}.before` and `convs.{l}.after` are the features before and after propagation (TINED).
    """

    def __init__(self, convs: Iterable[nn.Module], hidden_channels: int, norm: str) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)
        hidden_layers = range(len(self.convs) - 1)
        self.norms = nn.ModuleList(make_norm(norm, hidden_channels) for _ in hidden_layers)
        self.acts = nn.ModuleList(self.activation() for _ in hidden_layers)

    activation: type[nn.Module] = nn.ReLU

    def reset_parameters(self) -> None:
        reset(self.convs, self.norms)

    def hidden(self, layer: int, x: Tensor) -> Tensor:
        """Norm, activation and dropout behind convolution `layer`, in the model's order."""
        raise NotImplementedError

    def leave(self, layer: int, x: Tensor) -> Tensor:
        """Row-wise work between convolution `layer` and the next one; nothing behind the last."""
        return self.hidden(layer, x) if layer < len(self.acts) else x

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        for layer, conv in enumerate(self.convs):
            x = self.leave(layer, conv(x, edge_index))
        return x


class GCN(GNN):
    """Convolution -> ReLU -> [norm] -> dropout, repeated, then a convolution (the order of GLNN's GCN teacher).

    Args:
        in_channels, hidden_channels, out_channels: features of a node F, hidden features H, classes K.
        num_layers: convolutions, at least 1.
        dropout: probability of zeroing a hidden feature.
        norm: "none", "batch" or "layer".

    Shapes: x [N, F] dense or sparse CSR, edge_index [2, E] -> logits [N, K]. Taps: see `GNN`.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        dropout: float = 0.0,
        norm: str = "none",
    ) -> None:
        shapes = layer_shapes(in_channels, hidden_channels, out_channels, num_layers)
        super().__init__([GCNConv(i, o) for i, o in shapes], hidden_channels, norm)
        self.drops = nn.ModuleList(nn.Dropout(dropout) for _ in self.norms)

    def hidden(self, layer: int, x: Tensor) -> Tensor:
        return self.drops[layer](self.norms[layer](self.acts[layer](x)))


class GraphSAGE(GNN):
    """Convolution -> [norm] -> ReLU -> dropout, repeated, then a convolution (the order of GLNN's SAGE teacher).

    Args:
        aggregator: "gcn", `W (sum of neighbours + own) / (deg + 1) + b`, as GLNN's teacher; or "mean", PyG's
            `W_l (mean of neighbours) + b + W_r own`. Further arguments as `GCN`.

    Shapes: x [N, F] dense or sparse CSR, edge_index [2, E] -> logits [N, K]. Taps: see `GNN`.

    Differences: the authors of GLNN run this on graphs with a self loop at every node, so a node counts twice in
    its own mean. Here it counts twice only if `edge_index` holds the loops.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        dropout: float = 0.0,
        norm: str = "none",
        aggregator: str = "gcn",
    ) -> None:
        shapes = layer_shapes(in_channels, hidden_channels, out_channels, num_layers)
        super().__init__([SAGEConv(i, o, aggregator) for i, o in shapes], hidden_channels, norm)
        self.drops = nn.ModuleList(nn.Dropout(dropout) for _ in self.norms)

    def hidden(self, layer: int, x: Tensor) -> Tensor:
        return self.drops[layer](self.acts[layer](self.norms[layer](x)))


class GAT(GNN):
    """Dropout -> attention convolution -> [norm] -> ELU, repeated, then dropout and a one-head convolution.

    Args:
        heads: attention heads of a hidden layer, each with `hidden_channels // heads` features; the last layer
            has one head.
        attn_dropout: probability of dropping a normalised attention coefficient.
        dropout: probability of zeroing a feature that a layer reads, input features included.
            Further arguments as `GCN`.

    Shapes: x [N, F] dense or sparse CSR, edge_index [2, E] -> logits [N, K]. Taps: see `GNN`.
    Errors: `ConfigError` when `hidden_channels` is not a multiple of `heads`.

    Source: Velickovic et al., "Graph Attention Networks", ICLR 2018; widths and attention dropout as GLNN's GAT
    teacher. Where dropout, norm and ELU stand is this file's choice.
    """

    activation = nn.ELU

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        dropout: float = 0.0,
        norm: str = "none",
        heads: int = 8,
        attn_dropout: float = 0.3,
    ) -> None:
        if heads < 1 or hidden_channels % heads:
            raise ConfigError(f"hidden_channels={hidden_channels} is not a multiple of heads={heads}.")
        shapes = layer_shapes(in_channels, hidden_channels, out_channels, num_layers)
        convs = [GATConv(i, o // heads, heads, dropout=attn_dropout) for i, o in shapes[:-1]]
        convs.append(GATConv(shapes[-1][0], out_channels, heads=1, dropout=attn_dropout))
        super().__init__(convs, hidden_channels, norm)
        self.drops = nn.ModuleList(Dropout(dropout) for _ in self.convs)

    def hidden(self, layer: int, x: Tensor) -> Tensor:
        return self.drops[layer + 1](self.acts[layer](self.norms[layer](x)))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return super().forward(self.drops[0](x), edge_index)


class APPNP(MLP):
    """An MLP whose logits are then propagated: `z <- (1 - alpha) A_hat z + alpha z_0`, k times.

    Args:
        k: steps of propagation.
        alpha: teleport probability.
        edge_dropout: probability of dropping an edge of A_hat in a step, in training.
            Further arguments as `MLP`.

    Shapes: x [N, F] dense or sparse CSR, edge_index [2, E] -> logits [N, K].
    Taps: those of `MLP` (`lins.{l}`, ...) and `propagation`.

    Source: Gasteiger et al., "Predict then Propagate", ICLR 2019; defaults as GLNN's APPNP teacher.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        dropout: float = 0.0,
        norm: str = "none",
        k: int = 10,
        alpha: float = 0.1,
        edge_dropout: float = 0.5,
    ) -> None:
        super().__init__(in_channels, hidden_channels, out_channels, num_layers, dropout, norm)
        self.propagation = APPNPConv(k, alpha, dropout=edge_dropout)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:  # type: ignore[override]
        return self.propagation(super().forward(x), edge_index)
