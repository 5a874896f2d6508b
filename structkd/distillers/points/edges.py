"""EdgeLayer: the learned layer on the edges of one side."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from structkd.ops.edge_layer import edge_batch_norm, edge_terms


class EdgeLayer(nn.Module):
    """ReLU(BN(W [x_j ; x_i])) on edges, as terms of points: see `structkd.ops.edge_layer`.

    Args:
        in_channels: C of the points.
        out_channels: C' of the edges.
        fuse: what is concatenated, "identity" or "sub".
        affine: whether the normalisation has a scale and a shift that learn.
        fixed: W is drawn once, semi-orthogonal (its rows are orthonormal if C' <= 2 C), and never learns.
        running: keep running statistics (momentum .1) and normalise by them in eval mode. Without them the edges at
            hand always serve, so that the layer is one function in training and evaluation.
    """

    weight: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        fuse: str = "identity",
        affine: bool = True,
        fixed: bool = False,
        running: bool = False,
    ) -> None:
        super().__init__()
        self.fuse = fuse
        weight = torch.empty(out_channels, 2 * in_channels)
        if fixed:
            self.register_buffer("weight", nn.init.orthogonal_(weight))
        else:
            self.weight = nn.Parameter(nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu"))
        self.gamma = nn.Parameter(torch.ones(out_channels)) if affine else None
        self.beta = nn.Parameter(torch.zeros(out_channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(out_channels) if running else None)
        self.register_buffer("running_var", torch.ones(out_channels) if running else None)

    def forward(self, x: Tensor, center: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Terms (u [M, C'], v [N, C']) of the normalised edges: edge i, j is ReLU(u_j + v_i).

        Args:
            x: [M, C] points.
            center: [N] row of each centre.
            index: [N, K] rows of its neighbours.
        """
        u, v = edge_terms(x, center, self.weight, self.fuse)
        mean, var = self.running_mean, self.running_var
        return edge_batch_norm(u, v, index, self.gamma, self.beta, mean, var, training=self.training)
