"""Link prediction: scores of node pairs from node embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from structkd.models.graphs.linear import reset
from structkd.models.graphs.mlp import MLP


class DotPredictor(nn.Module):
    """Score of a pair: the inner product of its embeddings. x_i, x_j [..., C] (broadcast) -> scores [...]."""

    def reset_parameters(self) -> None:
        """There is nothing to reset."""

    def forward(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        return (x_i * x_j).sum(dim=-1)


class LinkPredictor(nn.Module):
    """Score of a pair: an MLP on the elementwise product of its embeddings (symmetric in i and j).

    Args:
        in_channels: features of an embedding, C.
        hidden_channels, num_layers, dropout, norm: of the MLP, see `MLP`.

    Shapes: x_i, x_j [..., C] (broadcast: `x[i][:, None]` with `x[contexts]` scores whole contexts) -> logits [...].
    A probability is the sigmoid of a logit. Tap: `mlp.lins.{l}`.

    Source: LLP (Guo et al., "Linkless Link Prediction via Relational Distillation", ICML 2023) scores pairs so.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_layers: int = 2,
        dropout: float = 0.0,
        norm: str = "none",
    ) -> None:
        super().__init__()
        self.mlp = MLP(in_channels, hidden_channels, 1, num_layers, dropout, norm)

    def reset_parameters(self) -> None:
        self.mlp.reset_parameters()

    def forward(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        product = x_i * x_j
        # Batch norm wants rows, whatever shape the pairs come in.
        return self.mlp(product.reshape(-1, product.size(-1))).reshape(product.shape[:-1])


class LinkModel(nn.Module):
    """An encoder of nodes and a predictor of pairs as one model; teacher and student alike.

    Args:
        encoder: GNN (`encoder(x, edge_index)`) or MLP (`encoder(x)`); its "logits" are the embeddings [N, C].
        predictor: `(x_i, x_j) -> scores`; the inner product if None.

    Shapes: `forward(x [N, F], pairs [2, P], edge_index [2, E] or None)` returns `{"logits": [P], "x": [N, C]}`.
    Leave `edge_index` out for a graph-free encoder. Pairs are undirected as far as the predictor is symmetric.
    """

    def __init__(self, encoder: nn.Module, predictor: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor or DotPredictor()

    def reset_parameters(self) -> None:
        reset(self.encoder, self.predictor)

    def forward(self, x: Tensor, pairs: Tensor, edge_index: Tensor | None = None) -> dict[str, Tensor]:
        h = self.encoder(x) if edge_index is None else self.encoder(x, edge_index)
        return {"logits": self.predictor(h[pairs[0]], h[pairs[1]]), "x": h}
