"""VQGraph: a vocabulary of local structures, learnt with the teacher and then spoken by the student."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.utils import subgraph

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, one_of, positive
from structkd.distillers.rows import distilled_rows
from structkd.losses.logits import kl_divergence
from structkd.losses.reconstruction import edge_reconstruction
from structkd.losses.token import token_kl, token_similarity
from structkd.models.graphs.linear import Linear
from structkd.ops.loops import with_self_loops
from structkd.structure import Structure


class VQGraphTokenizer(Distiller):
    r"""First stage: what the quantised codes must be able to reconstruct. There is no teacher.

    Yang et al., "VQGraph: Rethinking Graph Representation Space for Bridging GNNs and MLPs", ICLR 2024.

    .. math:: L = w_{node} \, MSE(h, n) + w_{edge} \sqrt{MSE(A, minmax(e e^T))}

    with h the features before quantisation, n and e what two decoders make of the codes, A the adjacency with loops
    and minmax the rescaling of all products to [0, 1]. The edge term holds no N x N matrix, see
    `structkd.losses.edge_reconstruction`. The commitment to the codes is the model's own loss.

    Args:
        node_weight, edge_weight: weight of each term; 0 leaves the term out.

    Reads of the student, which is the tokenizer: `hidden` h [N, F], `node_recon` n [N, F], `edge_emb` e [N, d] and
    `edge_index`. With `student.mask`, the rows and the edges between them. Meant for whole graphs: in a mini-batch
    the adjacency is that of its rows. Returns `node_reconstruction` and `edge_reconstruction`.

    Differences: the abstract speaks of reconstructing node attributes; the authors' code reconstructs h, without
    stopping its gradient, and so does this. Their sampled variant counts an edge once for each block it was sampled
    in; here each pair counts as often as `edge_index` holds it, a loop once.
    """

    reads = frozenset()

    def __init__(self, node_weight: float = 0.001, edge_weight: float = 0.03) -> None:
        super().__init__()
        not_negative("VQGraphTokenizer", node_weight=node_weight, edge_weight=edge_weight)
        self.node_weight = node_weight
        self.edge_weight = edge_weight
        node_fields = {"hidden", "node_recon"} if node_weight else set()
        self.reads_student = frozenset(node_fields | ({"edge_emb", "edge_index"} if edge_weight else set()))

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        losses = {}
        if self.node_weight:
            hidden, recon = distilled_rows(student, student.hidden, student.node_recon)
            error = (hidden - recon).square().sum() / max(hidden.numel(), 1)
            losses["node_reconstruction"] = self.node_weight * error
        if self.edge_weight:
            (embedding,) = distilled_rows(student, student.edge_emb)
            edges = student.edge_index
            if embedding.size(0) < student.edge_emb.size(0):
                edges, _ = subgraph(student.mask, edges, relabel_nodes=True, num_nodes=student.edge_emb.size(0))
            with_loops = with_self_loops(edges, embedding.size(0))
            losses["edge_reconstruction"] = self.edge_weight * edge_reconstruction(embedding, with_loops)
        return losses


class VQGraph(Distiller):
    r"""Second stage: the student learns the teacher's soft labels and its soft assignment to the codes.

    Source as `VQGraphTokenizer`.

    .. math::
        L = w_{soft} KL(p_t \| p_s) + w_{token} \frac{\tau^2}{N} \sum_i KL(a_t[i] \| a_s[i]), \qquad
        a = softmax(s(h, codebook) / \tau)

    with s the cosine similarity or the negative Euclidean distance of a node's features to every code. The student's
    features reach the width of the codes through a linear layer, which is trained along and not exported.

    Args:
        student_channels: width of the student's `x`, its last hidden layer as the classifier sees it.
        teacher_channels: width of the codes and of the teacher's `hidden`.
        tau: temperature of the assignments. The soft labels have temperature 1.
        token_weight: weight of the token term (alpha in the authors' code); 0 leaves it out with all it reads.
            Default 1, in reference mode the published 1e-8.
        soft_weight: weight of the soft labels; 0 leaves them out.
        metric: "cosine" or "euclidean", for both sides. Reference mode has its own.
        mode: "default", or "reference" for the token loss as published, see Differences.

    Reads `logits` [N, C] of both sides, `x` [N, H] of the student, `hidden` [N, F] and `codebook` [K, F] of the
    teacher. The teacher's assignments are made from rows of `hidden`, matched by global id like every teacher field,
    so nothing of size [N, K] is stored. Returns `soft_label` and `token`, both zero when the sides are equal (and
    the projector the identity).

    Differences: the published student code (1) hands softmax(s_t / tau) to a divergence that expects its logarithm, so
    that the target of every code is exp(probability), about one: it pulls the student to the uniform assignment with
    a gradient about K times too large; (2) scores the student by negative distances to the codes and the teacher by
    cosines, so that equal features do not give zero; (3) weighs the term by 1e-8, which leaves no trace of it.
    `mode="reference"` reproduces these three. Not reproduced: (4) token targets read in the original node order
    against features in train/val/test order, i.e. those of other nodes. That is a property of how arrays were
    saved, not of the loss; permute the teacher's `hidden` to see it. (5) Model selection on test accuracy, and
    three optimiser steps an epoch; both belong to the training loop.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        tau: float = 4.0,
        token_weight: float | None = None,
        soft_weight: float = 1.0,
        metric: str = "cosine",
        mode: str = "default",
    ) -> None:
        super().__init__()
        one_of("VQGraph", "mode", mode, ("default", "reference"))
        one_of("VQGraph", "metric", metric, ("cosine", "euclidean"))
        if token_weight is None:
            token_weight = 1e-8 if mode == "reference" else 1.0
        positive("VQGraph", tau=tau)
        not_negative("VQGraph", token_weight=token_weight, soft_weight=soft_weight)
        self.tau = tau
        self.token_weight = token_weight
        self.soft_weight = soft_weight
        self.metric = metric
        self.mode = mode
        if token_weight:
            self.projector = Linear(student_channels, teacher_channels)
            self.reads_student = frozenset({"x"})
            self.reads_teacher = frozenset({"hidden", "codebook"})

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        losses = {}
        if self.soft_weight:
            z_s, z_t = distilled_rows(student, student.logits, teacher.logits)
            losses["soft_label"] = self.soft_weight * kl_divergence(z_s, z_t)
        if self.token_weight:
            h_s, h_t = distilled_rows(student, student.x, teacher.hidden)
            compare = published_token_kl if self.mode == "reference" else self._token_kl
            losses["token"] = self.token_weight * compare(self.projector(h_s), h_t, teacher.codebook, self.tau)
        return losses

    def _token_kl(self, h_s: Tensor, h_t: Tensor, codebook: Tensor, tau: float) -> Tensor:
        a_s, a_t = (token_similarity(h, codebook, self.metric) for h in (h_s, h_t))
        return token_kl(a_s, a_t, tau)


def published_token_kl(h_s: Tensor, h_t: Tensor, codebook: Tensor, tau: float = 4.0) -> Tensor:
    """The token loss of the authors' student code, defects (1) and (2) of `VQGraph` included.

    Args:
        h_s: [N, F] projected student features.
        h_t: [N, F] teacher features before quantisation.
        codebook: [K, F].
        tau: temperature of both sides.

    Returns:
        tau^2 times the mean over rows of sum_k exp(a_t) (a_t - log a_s): probabilities where logarithms belong.
    """
    log_a_s = torch.log_softmax(token_similarity(h_s, codebook, "euclidean") / tau, dim=-1)
    a_t = torch.softmax(token_similarity(h_t, codebook, "cosine") / tau, dim=-1)
    total = F.kl_div(log_a_s, a_t, reduction="sum", log_target=True)
    return tau**2 * total / max(h_s.size(0), 1)
