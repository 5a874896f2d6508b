"""The relations along which a teacher's nodes teach a student's: what KRD and HGMD sample from."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.distillers.rows import distilled_edges, distilled_rows
from structkd.losses.logits import kl_divergence
from structkd.structure import Structure


def with_edge_count(teacher: Structure) -> Structure:
    """Note the relations per element of the whole structure (loops left out), for its mini-batches to keep to."""
    edges = teacher.get("edge_index")
    if edges is not None and "edges_per_node" not in teacher.provides:
        count = (edges[0] != edges[1]).sum()
        teacher["edges_per_node"] = count / max(teacher.num_elements, 1)
    return teacher


def neighbor_edges(student: Structure, teacher: Structure, reader: str) -> tuple[Tensor, Tensor]:
    """The relations to distil along, and what each counts beside a row's own label, which counts 1.

    Every edge of a full graph counts 1. In a mini-batch an edge counts as many as it stands for: `edge_scale` makes
    their sum a mean over all edges, `edges_per_node` (see `with_edge_count`; without it the batch's own ratio) brings
    that to the right proportion with the rows. Edges into rows that `student.mask` shuts out count 0 (their sources
    may be shut out: only a target learns), and so do loops: a row's own label is added to the sum by itself.

    Returns:
        (edge_index [2, E], weight [E] of the student's dtype).
    """
    fields = {name: value for name, value in student.to_dict().items() if name != "mask"}
    edge_index, scale = distilled_edges(Structure(**fields), teacher, reader)
    counts = edge_index[0] != edge_index[1]
    if "mask" in student.provides:
        counts = counts & student.mask[edge_index[1]]
    weight = counts.to(student.logits.dtype)
    if scale is not None:
        (rows,) = distilled_rows(student, student.logits)
        per_node = teacher.get("edges_per_node")
        if per_node is None:
            per_node = weight.sum() / max(rows.size(0), 1)
        weight = weight * scale.to(weight) * per_node.to(weight) * rows.size(0)
    return edge_index, weight


def own_divergence(
    student: Structure, teacher: Structure, tau: float, weight: Tensor | None = None
) -> tuple[Tensor, int]:
    """Sum over the distilled rows of KL(own teacher label || own prediction), and how many rows there are.

    `weight` [N] weighs the rows; default 1.
    """
    z_s, z_t = distilled_rows(student, student.logits, teacher.logits)
    if weight is not None:
        (weight,) = distilled_rows(student, weight)
    return kl_divergence(z_s, z_t, tau, weight, reduction="none").sum(), z_s.size(0)


def entropy(p: Tensor) -> Tensor:
    """Entropy in nats of each row of probabilities: [N, C] -> [N]."""
    return torch.special.entr(p).sum(-1)


def edge_slice(width: int, budget: int = 1 << 20) -> int:
    """How many edges to take at a time so that gathered rows of `width` values stay within `budget` numbers."""
    return max(1, budget // max(width, 1))
