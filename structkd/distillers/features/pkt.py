"""PKT: samples that the teacher takes for neighbours are neighbours for the student."""

from __future__ import annotations

from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.features.samples import paired_samples
from structkd.distillers.rows import distilled_pair
from structkd.losses.similarity import probabilistic_transfer
from structkd.structure import Structure


class PKT(Distiller):
    r"""Probabilistic knowledge transfer.

    Passalis & Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018:

    .. math:: L = \frac{1}{B^2} \sum_{i, j} p_t[i, j] \log \frac{p_t[i, j]}{p_s[i, j]}, \qquad
              p[i, j] = \frac{1 + \cos(f_i, f_j)}{\sum_k 1 + \cos(f_i, f_k)}

    Args:
        field: a vector a sample [B, C], or a map [B, C, H, W], whose mean over cells is taken.

    Reads `field` of both sides, of any number of channels. Returns `neighbours`, zero when the sides are equal up to a
    rotation and a scale of each sample; 0 with a single sample. Nothing is learned beside the student. Published
    weight: 30000 (the mean is over all B^2 pairs).

    Differences: see `structkd.losses.probabilistic_transfer`.
    """

    def __init__(self, field: str = "embedding") -> None:
        super().__init__()
        self.field, self.reads = field, frozenset({field})

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        f_s, f_t = paired_samples(*distilled_pair(student, teacher), self.field, "PKT")
        return {"neighbours": probabilistic_transfer(f_s, f_t)}
