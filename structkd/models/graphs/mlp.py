"""MLP: the graph-free student."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from structkd.errors import ConfigError
from structkd.models.graphs.linear import Linear, make_norm, reset


def layer_shapes(in_channels: int, hidden_channels: int, out_channels: int, num_layers: int) -> list[tuple[int, int]]:
    """(in, out) features of each of `num_layers` layers; `ConfigError` for fewer than one layer."""
    if num_layers < 1:
        raise ConfigError(f"num_layers={num_layers}; a network needs at least 1 layer.")
    return list(pairwise([in_channels, *[hidden_channels] * (num_layers - 1), out_channels]))


class MLP(nn.Module):
    """Linear -> [norm] -> ReLU -> dropout, repeated, then Linear.

    The student of GLNN (Zhang et al., "Graph-less Neural Networks", ICLR 2022) and its successors.

    Args:
        in_channels: features of a node, F.
        hidden_channels: features between layers before `width` is applied, H.
        out_channels: classes, K.
        num_layers: linear layers, at least 1 (1 is logistic regression).
        dropout: probability of zeroing a hidden feature.
        norm: "none", "batch" or "layer".
        width: factor on the hidden features; GLNN's "MLP3w4" is `num_layers=3, hidden_channels=256, width=4`.

    Shapes: x [N, F] dense or sparse CSR -> logits [N, K].

    Taps: `lins.{l}` is the output of layer l before norm and ReLU; `lins.{L-2}` is GLNN's and NOSMOG's "hidden
    state". `norms.{l}` and `acts.{l}` follow it; `drops.{l}` is what layer l + 1 reads.
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
    ) -> None:
        super().__init__()
        hidden = round(hidden_channels * width)
        shapes = layer_shapes(in_channels, hidden, out_channels, num_layers)
        self.lins = nn.ModuleList(Linear(i, o) for i, o in shapes)
        self.norms = nn.ModuleList(make_norm(norm, hidden) for _ in range(num_layers - 1))
        self.acts = nn.ModuleList(nn.ReLU() for _ in range(num_layers - 1))
        self.drops = nn.ModuleList(nn.Dropout(dropout) for _ in range(num_layers - 1))

    def reset_parameters(self) -> None:
        reset(self.lins, self.norms)

    def forward(self, x: Tensor) -> Tensor:
        for lin, norm, act, drop in zip(self.lins, self.norms, self.acts, self.drops):
            x = drop(act(norm(lin(x))))
        return self.lins[-1](x)
