"""Similarity-preserving distillation: samples that look alike to the teacher look alike to the student."""

from __future__ import annotations

from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.features.samples import paired_samples
from structkd.distillers.rows import distilled_pair
from structkd.losses.similarity import similarity_preserving
from structkd.structure import Structure


class SimilarityPreserving(Distiller):
    r"""Similarities between the samples of a batch.

    Tung & Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019:

    .. math::
        L = \frac{1}{B^2} \| \tilde G_s - \tilde G_t \|_F^2, \qquad
        \tilde G[i] = \frac{(F F^T)[i]}{\| (F F^T)[i] \|_2}

    with F [B, C H W] the flattened features.

    Args:
        field: what is compared, a map [B, C, H, W] or one vector a sample [B, C].

    Reads `field` of both sides, of any sizes. Returns `similarity`, zero when the sides are equal. Nothing is learned
    beside the student. With one sample a batch there is nothing to compare (0, without a gradient), and with the 2 to
    6 scenes that detectors train on there is little. Rows of elements [N, C] with `batch` have no counterpart in
    another scene; they are refused.
    """

    def __init__(self, field: str = "neck") -> None:
        super().__init__()
        self.field, self.reads = field, frozenset({field})

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        f_s, f_t = paired_samples(*distilled_pair(student, teacher), self.field, "SimilarityPreserving", pooled=False)
        return {"similarity": similarity_preserving(f_s, f_t)}
