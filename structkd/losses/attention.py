"""Where the energy of features lies."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.losses.samples import check_pair
from structkd.ops.precision import accumulator
from structkd.ops.segment import segment_sum


def attention_map(f: Tensor, batch: Tensor | None = None) -> Tensor:
    r"""Share of each element in its sample's energy: :math:`Q / \|Q\|_2`, :math:`Q_i = \sum_c f[i, c]^2`.

    Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017, section 3.1: the mapping
    :math:`F_{sum}^2`, normalised within each sample.

    Args:
        f: [B, C, H, W] maps, or [N, C] rows.
        batch: [N] sample of each row; None: all of one.

    Returns:
        [B, H * W], or [N]; zero where a sample's features all are.
    """
    f = f.to(accumulator(f))
    energy = f.square().sum(1)
    if f.dim() == 4:
        energy = energy.flatten(1)
        return energy / _length(energy.square().sum(1, keepdim=True))
    if batch is None:
        return energy / _length(energy.square().sum())
    samples = int(batch.max()) + 1 if batch.numel() else 0
    return energy / _length(segment_sum(energy.square(), batch, samples))[batch]


def attention_transfer(f_s: Tensor, f_t: Tensor, batch: Tensor | None = None) -> Tensor:
    r"""Squared distance of two samples' normalised attention, mean over samples.

    .. math:: L = \frac{1}{B} \sum_b \left\| \frac{Q_s^b}{\|Q_s^b\|_2} - \frac{Q_t^b}{\|Q_t^b\|_2} \right\|_2^2

    From 0, where the sides' attention is equal, to 2, where it does not overlap (Q is not negative). Blind to a
    sample's scale and to the channels, of which the sides may have different numbers.

    Args:
        f_s, f_t: [B, C, H, W] maps, or [N, C] rows.
        batch: [N] sample of each row; None: all of one.

    Raises:
        DataError: shapes that do not fit.

    Differences: equation 2 of the paper has the norm itself, the authors' code the mean of the squares over positions;
    a published weight of 1000 on the latter (their code) is 1000 / (H W) here.
    """
    check_pair(f_s, f_t, batch, same_channels=False)
    difference = (attention_map(f_s, batch) - attention_map(f_t, batch)).square()
    if batch is not None:
        samples = torch.bincount(batch).count_nonzero()
    else:
        samples = torch.tensor(f_s.size(0) if f_s.dim() == 4 else 1, device=f_s.device)
    return difference.sum() / samples.clamp(min=1)


def _length(squared: Tensor) -> Tensor:
    """Square root, with 1 in place of 0: nothing is divided by zero, and the gradient there is zero."""
    return torch.where(squared > 0, squared, 1).sqrt()
