"""FF-G2M: full-frequency distillation, what neighbours share (low) and how they differ (high)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, one_of, positive
from structkd.distillers.rows import distilled_edges, distilled_rows
from structkd.errors import ConfigError, WiringError
from structkd.losses.smoothness import NeighborTargets, high_frequency, low_frequency, neighbor_targets
from structkd.structure import Structure


class FFG2M(Distiller):
    r"""A node learns the teacher's outputs all over its neighbourhood, and an edge the teacher's change along it.

    Wu et al., "Extracting Low-/High-Frequency Knowledge from Graph Neural Networks and Injecting it into MLPs: An
    Effective GNN-to-MLP Distillation Framework", AAAI 2023.

    .. math::
        L_{low} = \frac{1}{E + N} \sum_i \sum_{j \in N(i) \cup \{i\}} KL(p_t[j] \,\|\, p_s[i]), \qquad
        L_{high} = \frac{1}{E} \sum_{(i, j)} KL(softmax(|z_t[i] - z_t[j]| / \tau) \,\|\,
                                                softmax(|z_s[i] - z_s[j]| / \tau))

    The low term needs no edges in training: `prepare` turns the teacher's outputs into one target a node by a single
    sparse product, and what is left is a cross entropy per node.

    Args:
        tau: temperature of the high term (1.0 to 1.5 in the published settings).
        low_weight, high_weight: weight of each term; 0 leaves the term out.
        reduction: "edge" weighs all E + N terms of the low loss alike, as published, so that a node counts by its
            degree; "node" takes the mean within each neighbourhood first.
        low_tau: temperature of the low term, 1 as published. Neither term is multiplied by tau^2.

    Reads `logits` [N, C] of both sides. The low term reads what `prepare` adds to the teacher, which makes node
    mini-batches exact: their mean, weighted by rows, is the full-batch loss. From a teacher that was not prepared it
    needs `edge_index`, and the targets are then computed in every call. The high term reads `edge_index`
    of the student (local to the batch, weighted by `edge_scale`) or else of the teacher; where `student.mask` is
    given without `edge_scale`, it keeps the edges with both ends in the mask.

    Returns `low_frequency` and `high_frequency`. The high term is zero when the sides are equal; the low one is the
    disagreement between neighbours there, and zero only where that is zero too.

    Differences: none in the two equations as the authors' code has them. In that code the dropouts of the tables are
    swapped (`dropout_t` is the MLP's), which is a matter of configs. The supervised loss, lambda there, is
    the task's.
    """

    def __init__(
        self,
        tau: float = 1.0,
        low_weight: float = 1.0,
        high_weight: float = 1.0,
        reduction: str = "edge",
        low_tau: float = 1.0,
    ) -> None:
        super().__init__()
        positive("FFG2M", tau=tau, low_tau=low_tau)
        not_negative("FFG2M", low_weight=low_weight, high_weight=high_weight)
        one_of("FFG2M", "reduction", reduction, ("edge", "node"))
        if low_weight == high_weight == 0:
            raise ConfigError("FFG2M(low_weight=0, high_weight=0) leaves no loss; give one of them a weight above 0.")
        self.tau = tau
        self.low_weight = low_weight
        self.high_weight = high_weight
        self.reduction = reduction
        self.low_tau = low_tau

    @property
    def prepared_fields(self) -> tuple[str, ...]:
        """The teacher fields that `prepare` adds; named by the settings they depend on, so that two distillers share
        a teacher without taking each other's targets.
        """
        return tuple(f"neighbor_{part}_{self.reduction}_{self.low_tau:g}" for part in NeighborTargets._fields)

    def prepare(self, teacher: Structure) -> Structure:
        """A copy of the teacher with the targets of the low term, [N, C] and [N], computed from its `edge_index`."""
        if self.low_weight == 0 or teacher.provides.issuperset(self.prepared_fields):
            return teacher
        prepared = copy.copy(teacher)
        for name, value in zip(self.prepared_fields, self._targets(teacher)):
            prepared[name] = value
        return prepared

    @torch.no_grad()
    def _targets(self, teacher: Structure) -> NeighborTargets:
        teacher.require({"logits"}, "FFG2M", "teacher")
        if "edge_index" not in teacher.provides:
            raise WiringError(
                "FFG2M's low-frequency term needs the teacher's neighbourhoods: call prepare with the teacher's "
                "structure over the whole graph, edge_index included. This teacher provides only "
                f"{', '.join(sorted(teacher.provides))}."
            )
        p_t = torch.softmax(teacher.logits / self.low_tau, dim=-1)
        return neighbor_targets(p_t, teacher.edge_index, self.reduction)

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        losses = {}
        if self.low_weight:
            teacher = self.prepare(teacher)
            z_s, *rows = distilled_rows(student, student.logits, *(teacher[name] for name in self.prepared_fields))
            losses["low_frequency"] = self.low_weight * low_frequency(z_s / self.low_tau, NeighborTargets(*rows))
        if self.high_weight:
            edges, scale = distilled_edges(student, teacher, type(self).__name__)
            high = high_frequency(student.logits, teacher.logits, edges, self.tau, scale)
            losses["high_frequency"] = self.high_weight * high
        return losses
