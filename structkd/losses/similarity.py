"""Similarities between the samples of a batch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from structkd.errors import DataError
from structkd.ops.precision import accumulator


def similarity_preserving(f_s: Tensor, f_t: Tensor) -> Tensor:
    r"""Difference of how similar a student and a teacher find the samples of a batch.

    .. math::
        L = \frac{1}{B^2} \| \tilde G_s - \tilde G_t \|_F^2, \qquad
        \tilde G[i] = \frac{(F F^T)[i]}{\| (F F^T)[i] \|_2}

    with F [B, C H W] the flattened features. Tung & Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019.
    Zero when the sides are equal. Both sides may have any size: only the B x B products meet. A
    single sample is as similar to itself on either side: 0, without a gradient.

    Args:
        f_s, f_t: [B, ...] features of the same samples.

    Raises:
        DataError: the numbers of samples differ.
    """
    if f_s.size(0) != f_t.size(0):
        raise DataError(f"Student features are of {f_s.size(0)} samples, teacher features of {f_t.size(0)}.")
    difference = _similarity(f_s) - _similarity(f_t)
    return difference.square().sum() / max(difference.numel(), 1)


def _similarity(f: Tensor) -> Tensor:
    rows = f.flatten(1).to(accumulator(f))
    return F.normalize(rows @ rows.t(), dim=1)
