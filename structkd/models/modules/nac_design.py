"""Signatures and codes: what makes each module of an attentive circuit a module of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from structkd.models.modules.nac_graph import (
    block_model_loss,
    block_probabilities,
    fitted_signatures,
    hinge_repulsion,
    prior_graph,
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


class GraphPrior(NamedTuple):
    """A prior on the connections between mediators.

    Attributes:
        signatures: [M, G] that connect a sample of it.
        blocks: [M, M] probabilities of a block model; None for other graphs.
    """

    signatures: Tensor
    blocks: Tensor | None


def graph_prior(mediators: int, graph: Mapping[str, Any], channels: int, truncation: float, seed: int) -> GraphPrior:
    """Of `graph`, `name` and options (see `nac_graph.GRAPHS`); a `ConfigError` where there is no such graph."""
    signatures = fitted_signatures(prior_graph(mediators, graph, seed), channels, truncation, seed)
    options = {key: value for key, value in graph.items() if key != "name"}
    is_blocks = graph["name"] == "planted_partition"
    return GraphPrior(signatures, block_probabilities(mediators, **options) if is_blocks else None)


class Design(Recorder):
    """Holds signatures and codes of latents: bandwidths of the connections that they decide -> `CircuitDesign`.

    Args:
        sizes: group -> number of latents.
        signature_channels, code_channels: G and Q; without signatures (G = 0) there is no prior either.
        prior: of the mediators, where there are any; None: random signatures.
        truncation: distance at which connections are cut.
        prior_weight: of the loss that keeps the prior, owed in training: of a block model the `block_model_loss`, else
            a repulsion of signatures nearer than `hinge`.

    Shapes: bandwidths L scalars, read by a block model only.
    """

    blocks: Tensor | None

    def __init__(
        self,
        sizes: Mapping[str, int],
        signature_channels: int,
        code_channels: int,
        prior: GraphPrior | None,
        truncation: float,
        prior_weight: float,
        hinge: float = 0.4,
    ) -> None:
        super().__init__()
        self.prior_weight, self.hinge, self.truncation = prior_weight, hinge, truncation
        signed = sizes if signature_channels else {}
        signatures = {group: torch.randn(count, signature_channels) for group, count in signed.items()}
        prior = prior if "mediators" in signed else None
        if prior is not None:
            signatures["mediators"] = prior.signatures.clone()
        self.signature = nn.ParameterDict(signatures)
        self.code = nn.ParameterDict({group: torch.randn(count, code_channels) for group, count in sizes.items()})
        self.register_buffer("blocks", None if prior is None else prior.blocks, persistent=False)

    def forward(self, bandwidths: Sequence[Tensor] = ()) -> CircuitDesign:
        losses = {"prior": self.prior_weight * self._prior(bandwidths)} if self.prior_weight and self.training else {}
        return CircuitDesign(dict(self.signature), dict(self.code), losses)

    def _prior(self, bandwidths: Sequence[Tensor]) -> Tensor:
        if self.blocks is not None:
            return block_model_loss(
                self.signature["mediators"], self.blocks, torch.stack(list(bandwidths)), self.truncation
            )
        return hinge_repulsion(torch.cat(list(self.signature.values())), self.hinge)
