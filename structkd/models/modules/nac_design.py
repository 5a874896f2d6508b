"""Signatures and codes: what makes each module of an attentive circuit a module of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from structkd.models.modules.nac_graph import (
    block_model_loss,
    block_probabilities,
    fitted_signatures,
    hinge_repulsion,
    prior_graph,
    signature_distances,
)
from structkd.models.modules.records import Record, Recorder


@dataclass(frozen=True, eq=False)
class CircuitDesign(Record):
    """Signatures and codes of some groups of latents ("inputs", "mediators", "outputs").

    Attributes:
        signature: group -> [N, G].
        code: group -> [N, Q].
        losses: `prior`, weighted.
    """

    signature: Mapping[str, Tensor]
    code: Mapping[str, Tensor]
    losses: Mapping[str, Tensor] = field(default_factory=dict)

    def joined(self, *groups: str) -> tuple[Tensor, Tensor]:
        """Signatures and codes of several groups, one after another."""
        return tuple(torch.cat([of[group] for group in groups]) for of in (self.signature, self.code))  # type: ignore[return-value]


class Design(Recorder):
    """Holds signatures and codes of latents: () -> `CircuitDesign`.

    Args:
        sizes: group -> number of latents.
        signature_channels, code_channels: G and Q; without signatures (G = 0) there is no prior either.
        graph: prior on the mediators, `name` and options (see `nac_graph.GRAPHS`); None: random signatures.
        truncation: distance that the prior is fitted to.
        prior_weight: of the loss that keeps the prior, owed in training: a block model for "planted_partition", else a
            repulsion of signatures nearer than `hinge`.
        seed: of graph and fit.
    """

    target: Tensor

    def __init__(
        self,
        sizes: Mapping[str, int],
        signature_channels: int,
        code_channels: int,
        graph: Mapping[str, Any] | None,
        truncation: float,
        prior_weight: float,
        hinge: float = 0.4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.prior_weight, self.hinge, self.truncation = prior_weight, hinge, truncation
        signed = sizes if signature_channels else {}
        signatures = {group: torch.randn(count, signature_channels) for group, count in signed.items()}
        if graph is not None and "mediators" in signed:
            ties = prior_graph(sizes["mediators"], graph, seed)
            signatures["mediators"] = fitted_signatures(ties, signature_channels, truncation, seed)
        self.signature = nn.ParameterDict(signatures)
        self.code = nn.ParameterDict({group: torch.randn(count, code_channels) for group, count in sizes.items()})
        self.blocks = graph is not None and graph.get("name") == "planted_partition" and "mediators" in signed
        if self.blocks:
            options = {"groups": 4, "p_in": 0.9, "p_out": 0.2} | {
                k: v for k, v in dict(graph or {}).items() if k != "name"
            }
            target = block_probabilities(sizes["mediators"], **options)
            self.register_buffer("target", target, persistent=False)

    def forward(self) -> CircuitDesign:
        losses = {"prior": self.prior_weight * self._prior()} if self.prior_weight and self.training else {}
        return CircuitDesign(dict(self.signature), dict(self.code), losses)

    def _prior(self) -> Tensor:
        if self.blocks:
            mediators = self.signature["mediators"]
            return block_model_loss((-signature_distances(mediators, mediators).clamp(min=0)).exp(), self.target)
        return hinge_repulsion(torch.cat(list(self.signature.values())), self.hinge)
