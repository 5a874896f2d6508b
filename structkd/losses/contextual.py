"""How the elements within each sample relate to one another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from structkd.errors import ConfigError, DataError
from structkd.losses.samples import sample_mean
from structkd.ops.precision import accumulator


def contextual_loss(f_s: Tensor, f_t: Tensor, batch: Tensor | None = None, tau: float | None = 0.2) -> Tensor:
    r"""Difference of what each element attends to among the elements of its own sample.

    .. math::
        L = \frac{1}{B} \sum_b \frac{1}{n_b} \sum_{i \in b} \| CS_s[i] - CS_t[i] \|_2^2, \qquad
        CS[i, j] = softmax_j(\cos(F[i], F[j]) / \tau)

    with F [n_b, C] one side's features of sample b. Zhang, Liu & He, "Knowledge Distillation via Token-level
    Relationship Graph", arXiv 2306.12442, 2023 (the inner-instance loss). From 0, where the sides are equal up to a
    rotation and the lengths of rows, to 2. The sides may have any numbers of channels. A single element attends to
    itself: 0, without a gradient. O(B n^2) memory, n the most elements of a sample.

    Args:
        f_s, f_t: [N, C_s] and [N, C_t] student's and teacher's features of the same elements.
        batch: [N] int64 sample of each row, ascending; None: all of one.
        tau: temperature of the cosines; None for products as published, :math:`softmax(F F^T / \sqrt{C})`.

    Raises:
        DataError: shapes that do not fit, a batch vector that is not ascending.
        ConfigError: tau is not positive.

    Differences: published are products (tau=None) and the mean over all n^2 entries. A row of CS sums to one, so that
    this mean falls as elements are added; here squares are added up along a row (a published weight alpha is alpha/n).
    Products grow with the square of the features' length and turn CS into the identity, on both sides and whatever the
    features: on clustered tokens of 256 channels of about unit variance the gradient is tens of times smaller than that
    of cosines at .2; three times as long, it is zero.
    """
    if f_s.dim() != 2 or f_t.dim() != 2 or f_s.size(0) != f_t.size(0):
        raise DataError(
            f"Student features have shape {tuple(f_s.shape)}, teacher features {tuple(f_t.shape)}; expected [N, C_s] "
            "and [N, C_t]."
        )
    if tau is not None and not tau > 0:
        raise ConfigError(f"tau is {tau}; a temperature is positive.")
    if batch is None:
        batch = torch.zeros(f_s.size(0), dtype=torch.long, device=f_s.device)
    if batch.shape != f_s.shape[:1] or bool((batch[1:] < batch[:-1]).any()):
        raise DataError(f"batch has shape {tuple(batch.shape)}; expected [{f_s.size(0)}], ascending.")
    sample, place, most = _places(batch)
    shape = (int(sample[-1]) + 1 if len(sample) else 0, most)
    there = torch.zeros(shape, dtype=torch.bool, device=f_s.device)
    there[sample, place] = True
    ours, theirs = (_attention(f, sample, place, there, tau) for f in (f_s, f_t))
    return sample_mean((ours - theirs).square().sum(-1)[sample, place], batch)


def _places(batch: Tensor) -> tuple[Tensor, Tensor, int]:
    """Of each row: which of the samples that are there it belongs to, and its place in it; and the largest count."""
    _, sample, count = batch.unique_consecutive(return_inverse=True, return_counts=True)
    start = count.cumsum(0) - count
    place = torch.arange(len(batch), device=batch.device) - start[sample]
    return sample, place, int(count.max()) if len(count) else 0


def _attention(f: Tensor, sample: Tensor, place: Tensor, there: Tensor, tau: float | None) -> Tensor:
    """[B, n, n] softmax of products (or cosines) along the elements that are there."""
    f = f.to(accumulator(f))
    f = f / f.size(1) ** 0.25 if tau is None else F.normalize(f, dim=1) / tau**0.5
    table = f.new_zeros(*there.shape, f.size(1)).index_put((sample, place), f)
    with torch.autocast(f.device.type, enabled=False):  # the loss is a difference smaller than bfloat16's rounding
        scores = table @ table.mT
    return torch.softmax(scores.masked_fill(~there.unsqueeze(1), float("-inf")), -1)
