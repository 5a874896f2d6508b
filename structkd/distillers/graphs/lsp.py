"""LSP: a node is as close to each of its neighbours for the student as for the teacher."""

from __future__ import annotations

from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import one_of, positive
from structkd.distillers.elements import paired_elements
from structkd.distillers.rows import distilled_edges
from structkd.distillers.sample_ids import check_same_samples
from structkd.errors import DataError
from structkd.losses.local_structure import KERNELS, edge_similarity, local_structure_kl
from structkd.ops.knn import knn
from structkd.structure import Structure


class LSP(Distiller):
    r"""Local structure preserving.

    Yang et al., "Distilling Knowledge from Graph Convolutional Networks", CVPR 2020:

    .. math:: L = \frac{1}{|V|} \sum_{i \in V} KL\big(LS^t_i \,\|\, LS^s_i\big), \qquad
              LS_{ij} = softmax_{j \in N(i)}\big(SIM(x_i, x_j)\big)

    over the sources j of the edges into i; see `structkd.losses.edge_similarity` for SIM.

    Args:
        field: rows [N, C] of both sides, of any number of channels: nodes of a graph, tokens, points.
        kernel: "rbf" (as the authors have it), "gaussian" (its logarithm: the distributions are then the normalised
            kernel) or "linear".
        sigma: width of the kernels of distance, in squared units of the features.
        student_first: KL(student || teacher) instead.
        k: without an `edge_index`, a row's neighbours are the k nearest of the teacher's rows, of the same sample where
            there is a `batch` [N], and without those that `mask` shuts out; None: there must be edges.

    Reads `field` of both sides and `edge_index` of either (the student's own first, without those that its `mask` shuts
    out); tokens, points and the images of a batch (field [B, C]) have none: give them theirs by `k`, or before
    (`structkd.relations.KNN`). Returns `local_structure`, zero when the sides are equal up to a rotation and a shift
    ("linear": a rotation). In a mini-batch of sampled edges the distributions are those over the edges there. Nothing
    is learned beside the student.

    Differences: the authors' code measures |x_i - x_j|_1 / 100 in place of the squared distance over 2 sigma. A kernel
    between 0 and 1 inside a softmax leaves distributions close to uniform, hence weak gradients: "gaussian" does not.
    """

    def __init__(
        self,
        field: str = "x",
        kernel: str = "rbf",
        sigma: float = 100.0,
        student_first: bool = False,
        k: int | None = None,
    ) -> None:
        super().__init__()
        one_of("LSP", "kernel", kernel, KERNELS)
        positive("LSP", sigma=sigma, **({} if k is None else {"k": k}))
        self.field, self.reads = field, frozenset({field})
        self.kernel, self.sigma, self.student_first = kernel, sigma, student_first
        self.k = k

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        if self.k is None or "edge_index" in student.provides | teacher.provides:
            sides = (student[self.field], teacher[self.field])
            sizes = [x.size(0) for x in sides]
            if sizes[0] != sizes[1]:
                raise DataError(f"LSP: {self.field} has {sizes[0]} rows (student) and {sizes[1]} (teacher).")
            check_same_samples(student, teacher, sizes[0], "LSP", f"their rows of {self.field}")
            edge_index, _ = distilled_edges(student, teacher, "LSP")
        else:
            ours, theirs = paired_elements(student, teacher, self.field, "LSP")
            sides = (ours.x, theirs.x)
            edge_index = knn(theirs.x, self.k, batch_x=ours.batch)[0].flip(0)
        score_s, score_t = (edge_similarity(x, edge_index, self.kernel, self.sigma) for x in sides)
        loss = local_structure_kl(score_s, score_t, edge_index[1], sides[0].size(0), self.student_first)
        return {"local_structure": loss}
