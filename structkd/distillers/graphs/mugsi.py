"""MuGSI: a graph classifier's knowledge at the level of graphs, of subgraphs and of nodes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, one_of, positive
from structkd.distillers.rows import distilled_edges, distilled_rows
from structkd.errors import DataError
from structkd.losses.logits import kl_divergence
from structkd.models.graphs.linear import Linear
from structkd.ops.csr import csr_of
from structkd.ops.segment import segment_sum
from structkd.ops.walks import random_walk
from structkd.structure import Structure


class MuGSI(Distiller):
    r"""Soft labels and graph embeddings, similarities of clusters, and similarities of nodes within each graph.

    Yao et al., "MuGSI: Distilling GNNs with Multi-Granularity Structural Information for Graph Classification",
    WWW 2024. The terms are read from the authors' code (the paper's text was not read); with G graphs,

    .. math::
        L = w_{soft} KL(p_t \| p_s)
          + w_{graph} MSE\big(\tfrac{P g_s}{\|P g_s\|}, \tfrac{g_t}{\|g_t\|}\big)
          + \frac{w_{cluster}}{2G} \sum_g \| \cos(C_s^g) - \cos(C_t^g) \|_F^2 + w_{node} L_{node}

    where g are the summed node embeddings of a graph, P a learned projection and cos(C^g) the cosine similarities
    between the summed embeddings of a graph's clusters. The node term compares, inside each graph,

    * "gram": inner products of all its nodes, the mean over graphs of their mean squared difference;
    * "path": along random walks, the softmax of the inner products of the first node with the later ones; the mean
      KL over walks.

    Args:
        student_channels, teacher_channels: widths of the two `x`.
        node: "gram" or "path". The paper's is "path"; its author found Gram matching often better (repository,
            issue 2) and held back by O(N^2) memory, which this form does not need.
        tau: temperature of the soft labels.
        soft_weight, graph_weight, cluster_weight, node_weight: weight of each term; 0 leaves it out and with it what
            it reads. Published: 1, .01, .01, 1e-4 (for "path"). "gram" grows with the fourth power of the embeddings'
            length, so its weight wants a look at the value.
        walks, length: random walks a graph and steps of each ("path"); published 20 and 15.

    Reads `logits` [G, K] of both sides, `x` [N, C] of both sides (node embeddings) and the student's `batch` [N]; the
    cluster and path terms read `edge_index` of either. A `cluster` [N] field of either side (int64, numbered within
    each graph) is used where there is one, e.g. Louvain communities from preprocessing; otherwise clusters come from
    `label_propagation` (`prepare` does that once). Returns `soft_label`, `graph`, `cluster` and `node`, zero when the
    sides are equal (`graph`: when the projection is the identity besides).

    Differences: the authors cluster by Louvain or METIS and skip graphs with fewer than three clusters, where
    similarities are few but not void; ours keeps them. Their Gram variant compares nodes across the whole batch.
    Theirs loops over the graphs of a batch; ours pads them.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        node: str = "gram",
        tau: float = 1.0,
        soft_weight: float = 1.0,
        graph_weight: float = 0.01,
        cluster_weight: float = 0.01,
        node_weight: float = 1e-4,
        walks: int = 20,
        length: int = 15,
    ) -> None:
        super().__init__()
        one_of("MuGSI", "node", node, ("gram", "path"))
        positive("MuGSI", tau=tau, walks=walks, length=length)
        not_negative(
            "MuGSI", soft_weight=soft_weight, graph_weight=graph_weight, cluster_weight=cluster_weight,
            node_weight=node_weight,
        )  # fmt: skip
        self.node, self.tau, self.walks, self.length = node, tau, walks, length
        self.soft_weight, self.graph_weight = soft_weight, graph_weight
        self.cluster_weight, self.node_weight = cluster_weight, node_weight
        self.reads, self.reads_student = frozenset({"logits", "x"}), frozenset({"batch"})
        if graph_weight:
            self.projector = Linear(student_channels, teacher_channels)

    def prepare(self, teacher: Structure) -> Structure:
        if self.cluster_weight and "cluster" not in teacher.provides and "edge_index" in teacher.provides:
            teacher["cluster"] = label_propagation(teacher.edge_index, teacher.x.size(0))
        return teacher

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        x_s, x_t, batch = distilled_rows(student, student.x, teacher.x, student.batch)
        graphs = student.logits.size(0)
        if batch.numel() and int(batch.max()) >= graphs:
            raise DataError(f"batch names graph {int(batch.max())}, but there are logits for {graphs} graphs only.")
        losses = {}
        if self.soft_weight:
            losses["soft_label"] = self.soft_weight * kl_divergence(student.logits, teacher.logits, self.tau)
        if self.graph_weight:
            g_s = F.normalize(self.projector(segment_sum(x_s, batch, graphs)), dim=-1)
            g_t = F.normalize(segment_sum(x_t, batch, graphs), dim=-1)
            losses["graph"] = self.graph_weight * (g_s - g_t).square().sum() / max(g_t.numel(), 1)
        if self.cluster_weight:
            cluster = self._clusters(student, teacher)
            losses["cluster"] = self.cluster_weight * cluster_error(x_s, x_t, batch, cluster, graphs)
        if self.node_weight:
            if self.node == "gram":
                size = torch.bincount(batch, minlength=graphs).clamp(min=1)
                node = (gram_errors(x_s, x_t, batch, graphs) / size**2).sum() / max(graphs, 1)
            else:
                node = self._path_error(student, teacher, graphs)
            losses["node"] = self.node_weight * node
        return losses

    def _clusters(self, student: Structure, teacher: Structure) -> Tensor:
        for side in (student, teacher):
            if "cluster" in side.provides:
                return distilled_rows(student, side.cluster)[0]
        edge_index, _ = distilled_edges(student, teacher, "MuGSI")
        return distilled_rows(student, label_propagation(edge_index, student.x.size(0)))[0]

    def _path_error(self, student: Structure, teacher: Structure, graphs: int) -> Tensor:
        edge_index, _ = distilled_edges(student, teacher, "MuGSI")
        nodes = torch.arange(student.x.size(0), device=student.x.device)
        nodes, batch = distilled_rows(student, nodes, student.batch)
        starts = nodes[draw_per_group(batch, graphs, self.walks)]
        walk = random_walk(csr_of(edge_index, student.x.size(0)), starts, self.length)
        along_s, along_t = (torch.einsum("wc,wlc->wl", x[walk[:, 0]], x[walk[:, 1:]]) for x in (student.x, teacher.x))
        return kl_divergence(along_s, along_t)


def gram_errors(x_s: Tensor, x_t: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """For each group g, `|| X_s X_s^T - X_t X_t^T ||_F^2` over its rows; [G], 0 for an empty group.

    Groups are padded to the largest one, of n rows: O(G n d) memory, also where n is large, by the identity of
    `structkd.losses.gram.gram_mse` (and in float64 for its reason).

    Args:
        x_s, x_t: [N, d_s] and [N, d_t].
        group: [N] int64, in any order.
    """
    order, size = group.argsort(stable=True), torch.bincount(group, minlength=num_groups)
    slot = torch.arange(group.numel(), device=group.device) - (size.cumsum(0) - size)[group[order]]
    longest = int(size.max()) if size.numel() else 0
    s, t = (x.new_zeros(num_groups, longest, x.size(1)).index_put((group[order], slot), x[order]) for x in (x_s, x_t))
    if s.size(1) <= max(s.size(2), t.size(2)):
        return (s @ s.mT - t @ t.mT).square().sum((1, 2))
    s, t = s.double(), t.double()
    ss, tt, st = (torch.einsum("gnc,gnd->gcd", *sides).square().sum((1, 2)) for sides in ((s, s), (t, t), (s, t)))
    return (ss + tt - 2 * st).to(x_s.dtype)


def cluster_error(x_s: Tensor, x_t: Tensor, batch: Tensor, cluster: Tensor, num_graphs: int) -> Tensor:
    """Half the squared difference of the cosine similarities between clusters, summed in and averaged over graphs."""
    wide = int(cluster.max()) + 1 if cluster.numel() else 1
    names, member = (batch * wide + cluster).unique(return_inverse=True)
    c_s, c_t = (F.normalize(segment_sum(x, member, names.numel()), dim=-1) for x in (x_s, x_t))
    return gram_errors(c_s, c_t, names // wide, num_graphs).sum() / (2 * max(num_graphs, 1))


def draw_per_group(group: Tensor, num_groups: int, count: int) -> Tensor:
    """`count` rows of each group that has any, drawn with replacement; torch's global generator."""
    order, size = group.argsort(stable=True), torch.bincount(group, minlength=num_groups)
    first = (size.cumsum(0) - size)[size > 0].repeat_interleave(count)
    size = size[size > 0].repeat_interleave(count)
    return order[first + (torch.rand(size.numel(), device=size.device, dtype=torch.float64) * size).long()]


@torch.no_grad()
def label_propagation(edge_index: Tensor, num_nodes: int, rounds: int = 8) -> Tensor:
    """Clusters of a graph: nodes take the label most of their neighbours (and they themselves) have.

    Deterministic: every other node moves in a round, so that neighbours do not swap labels forever, and ties go to
    the label of the node with the larger degree, then of the earlier one. Raghavan et al., "Near linear time
    algorithm to detect community structures in large-scale networks", 2007.

    Args:
        edge_index: [2, E], taken as undirected when both directions are in it; graphs of a batch stay apart.
        rounds: passes over all nodes, each in two halves.

    Returns:
        [N] int64 labels from 0 to N - 1, not consecutive.
    """
    nodes = torch.arange(num_nodes, device=edge_index.device)
    degree = torch.bincount(edge_index[1], minlength=num_nodes)
    label = torch.empty_like(nodes)
    label[degree.argsort(descending=True, stable=True)] = nodes
    source, target = torch.cat([edge_index, nodes.expand(2, -1)], dim=1)
    for turn in range(2 * rounds):
        votes, count = (target * num_nodes + label[source]).unique(return_counts=True)
        # The last entry of a node wins: sort by votes, the larger label (of the smaller degree) first among equals.
        order = (count * num_nodes + (num_nodes - 1 - votes % num_nodes)).argsort()
        order = order[(votes[order] // num_nodes).argsort(stable=True)]
        ends = torch.bincount(votes // num_nodes, minlength=num_nodes).cumsum(0) - 1
        winner = votes[order[ends]] % num_nodes if num_nodes else label
        label = torch.where(nodes % 2 == turn % 2, winner, label)
    return label
