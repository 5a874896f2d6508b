"""Means that do not depend on how many samples a batch holds, nor on how many elements another sample has."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.errors import DataError
from structkd.ops.precision import accumulator


def sample_mean(values: Tensor, batch: Tensor | None = None) -> Tensor:
    """Mean within each sample (scene, image, graph), then over the samples that have any element.

    Args:
        values: [N] one value an element; half and bfloat16 are summed in float32.
        batch: [N] int64 sample of each, in any order; None: all are of one sample, or all samples are of one size.

    Returns:
        A scalar; 0 without elements.
    """
    values = values.to(accumulator(values))
    if batch is None:
        return values.sum() / max(values.numel(), 1)
    count = torch.bincount(batch)
    samples = (count > 0).sum()
    return (values / (count[batch] * samples).to(values.dtype)).sum()


def check_pair(f_s: Tensor, f_t: Tensor, batch: Tensor | None = None, same_channels: bool = True) -> None:
    """`DataError` unless both are maps [B, C, H, W] of one size, or rows [N, C] of one length with `batch` [N].

    Args:
        same_channels: whether C must be the same on both sides.
    """
    shapes = [(f.shape[0], *f.shape[2:]) for f in (f_s, f_t)]
    fits = f_s.dim() == f_t.dim() and f_s.dim() in (2, 4) and shapes[0] == shapes[1]
    if not fits or (same_channels and f_s.size(1) != f_t.size(1)):
        raise DataError(
            f"Student features have shape {tuple(f_s.shape)}, teacher features {tuple(f_t.shape)}; expected rows "
            f"[N, C] or maps [B, C, H, W] of one size{' and as many channels' if same_channels else ''}."
        )
    if batch is not None and (f_s.dim() != 2 or batch.shape != f_s.shape[:1]):
        raise DataError(
            f"Features have shape {tuple(f_s.shape)} and batch {tuple(batch.shape)}; batch goes with rows: [N, C], [N]."
        )
