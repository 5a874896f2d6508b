"""Contrast between the same elements of two sides (TRG's global relationship loss)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from structkd.errors import DataError
from structkd.ops.info_nce import info_nce
from structkd.ops.precision import accumulator


def token_contrast(f_s: Tensor, f_t: Tensor, tau: float = 0.1) -> Tensor:
    r"""InfoNCE of cosines: each element of the student's is told from all others by the teacher's.

    .. math:: L = -\frac{1}{N} \sum_i \log \frac{\exp(\cos(s_i, t_i) / \tau)}{\sum_j \exp(\cos(s_i, t_j) / \tau)}

    Zhang, Liu & He, "Knowledge Distillation via Token-level Relationship Graph", arXiv 2306.12442, 2023. Computed by
    `structkd.ops.info_nce`, which holds no [N, N]. Blind to the lengths of rows; a zero row is at cosine 0 of
    everything. Above 0 always: equal sides leave the contrast of the teacher with itself, which is small where its
    rows are apart (two opposite rows: log(1 + exp(-2 / tau))) and which the student can still undercut by moving away
    from look-alikes.

    Args:
        f_s: [N, C] student's features.
        f_t: [N, C] teacher's, row i the positive of row i; the others are negatives, whichever image they are of.
        tau: temperature; the lower, the more only the hardest negatives count.

    Returns:
        A scalar; 0 below two rows.

    Raises:
        DataError: the shapes differ.
        ConfigError: tau is not positive.

    Differences: the published sum over tokens is a mean here (a published weight gamma is gamma N), and the similarity,
    which the sources do not name, is the cosine.
    """
    if f_s.dim() != 2 or f_s.shape != f_t.shape:
        raise DataError(
            f"Student features have shape {tuple(f_s.shape)}, teacher features {tuple(f_t.shape)}; expected one shape "
            "[N, C]. A learned projection (structkd.distillers.connectors) aligns the channels."
        )
    x, y = (F.normalize(f.to(accumulator(f)), dim=1) for f in (f_s, f_t))
    return info_nce(x, y, tau)
