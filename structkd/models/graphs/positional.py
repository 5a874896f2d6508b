"""An MLP that also reads where a node lies in the graph: NOSMOG's student."""

from __future__ import annotations

from torch import Tensor

from structkd.models.graphs.linear import Linear
from structkd.models.graphs.mlp import MLP


class PositionalMLP(MLP):
    """`MLP` on the features joined with position features, without joining them.

    The first layer is `lins.0` on the features plus `position` on the positions, which equals one layer on both side
    by side and lets the features stay sparse. Tian et al., NOSMOG, ICLR 2023, joins DeepWalk vectors so.

    Args:
        position_channels: length of a position vector, P. Further arguments as `MLP`.

    Shapes: x [N, F] dense or sparse CSR, positions [N, P] -> logits [N, K].

    Taps: as `MLP`, but the first hidden layer before ReLU is `norms.0` (`lins.0` lacks the positions).
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        position_channels: int,
        num_layers: int = 2,
        dropout: float = 0.0,
        norm: str = "none",
        width: float = 1,
    ) -> None:
        super().__init__(in_channels, hidden_channels, out_channels, num_layers, dropout, norm, width)
        first = self.lins[0]
        assert isinstance(first, Linear)
        self.position = Linear(position_channels, first.out_features, bias=False)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.position.reset_parameters()

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:  # type: ignore[override]
        x = self.lins[0](x) + self.position(positions)
        for norm, act, drop, lin in zip(self.norms, self.acts, self.drops, self.lins[1:]):
            x = lin(drop(act(norm(x))))
        return x
