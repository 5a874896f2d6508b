"""VQGraph's teacher: a GCN that writes every node as a code of a learned vocabulary of structures."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from structkd.models.graphs.convs import GCNConv
from structkd.models.graphs.linear import Linear, reset
from structkd.models.graphs.vq import CosineCodebook


class VQTokenizer(nn.Module):
    """h = dropout(ReLU(GCN x)), q = VQ(h), e = D_e q, n = D_n q, logits = Linear(ReLU(GCN e)).

    After VQGraph (Yang et al., "VQGraph: Rethinking Graph Representation Space for Bridging GNNs and MLPs",
    ICLR 2024). Note that the classifier reads the decoded e. Its training loss is cross entropy plus the node
    reconstruction MSE(h, n), the edge reconstruction of the adjacency by e, and the commitment; the model owns the
    last, the distiller builds the others from the fields below.

    Args:
        in_channels, hidden_channels, out_channels: F, H (inside the classifier), K.
        num_codes: size of the codebook.
        dropout: on h.
        code_channels: features of h and of a code, C. None is F as published: two F x F layers and two F x F
            decoders, 55 million weights on CiteSeer's 3703 features; a few hundred do there.
        codebook: further arguments of `CosineCodebook` (decay, init, revive_below, mode, ...).

    Shapes: x [N, F] dense or sparse CSR, edge_index [2, E] -> dict of
        `logits` [N, K]; `x` and `hidden` [N, C], both h with its gradient; `codes` [N] int64;
        `node_recon` n [N, C]; `edge_emb` e [N, C]; `codebook` [num_codes, C]; `losses` {"commitment"}.
        Soft assignments [N, num_codes] are `codebook.similarity(hidden)`, made where needed and never stored.

    Taps: `convs.0`, `acts.0`, `codebook` (its first output is q), `edge_decoder`, `node_decoder`, `convs.1`, `head`.

    Differences: the published model has no norm layer that works; this one has none.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_codes: int = 5000,
        dropout: float = 0.0,
        code_channels: int | None = None,
        codebook: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        channels = in_channels if code_channels is None else code_channels
        self.convs = nn.ModuleList([GCNConv(in_channels, channels), GCNConv(channels, hidden_channels)])
        self.acts = nn.ModuleList([nn.ReLU(), nn.ReLU()])
        self.drop = nn.Dropout(dropout)
        self.codebook = CosineCodebook(num_codes, channels, **(codebook or {}))
        self.edge_decoder = Linear(channels, channels)
        self.node_decoder = Linear(channels, channels)
        self.head = Linear(hidden_channels, out_channels)

    def reset_parameters(self) -> None:
        reset(*self.children())

    def forward(self, x: Tensor, edge_index: Tensor) -> dict[str, Any]:
        h = self.drop(self.acts[0](self.convs[0](x, edge_index)))
        quantised, codes, commitment = self.codebook(h)
        edge_emb = self.edge_decoder(quantised)
        return {
            "logits": self.head(self.acts[1](self.convs[1](edge_emb, edge_index))),
            "x": h,
            "hidden": h,
            "codes": codes,
            "node_recon": self.node_decoder(quantised),
            "edge_emb": edge_emb,
            "codebook": self.codebook.codes,
            "losses": {"commitment": commitment},
        }
