"""Similarities between the samples of a batch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from structkd.errors import ConfigError, DataError
from structkd.ops.precision import accumulator, inner_products


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
    _check(f_s, f_t)
    return _mean_square(_similarity(f_s), _similarity(f_t))


def probabilistic_transfer(f_s: Tensor, f_t: Tensor, eps: float = 1e-7) -> Tensor:
    r"""Divergence of the chances that a sample picks another as its neighbour.

    .. math::
        L = \frac{1}{B^2} \sum_{i, j} p_t[i, j] \log \frac{p_t[i, j] + \epsilon}{p_s[i, j] + \epsilon}, \qquad
        p[i, j] = \frac{1 + \cos(f_i, f_j)}{\sum_k 1 + \cos(f_i, f_k)}

    Passalis & Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018. Zero when the
    sides are equal up to a rotation and a scale of each sample; 0 with a single one.

    Args:
        f_s, f_t: [B, ...] features of the same samples, of any sizes.
        eps: keeps the logarithm finite where two samples are opposite.

    Raises:
        DataError: the numbers of samples differ.

    Differences: none from the common code (RepDistiller), whose mean over B^2 entries is kept so that its weight of
    30000 is one here too.
    """
    _check(f_s, f_t)
    p_s, p_t = _neighbour_chances(f_s), _neighbour_chances(f_t)
    return (p_t * ((p_t + eps).log() - (p_s + eps).log())).sum() / max(p_t.numel(), 1)


def correlation_congruence(
    f_s: Tensor, f_t: Tensor, kernel: str = "polynomial", gamma: float = 0.4, order: int = 2
) -> Tensor:
    r"""Difference of the correlations between the samples of a batch.

    .. math::
        L = \frac{1}{B^2} \| K_s - K_t \|_F^2, \qquad
        K[i, j] = \exp(-\gamma \| \hat f_i - \hat f_j \|^2)
                = e^{-2 \gamma} \sum_p \frac{(2 \gamma)^p}{p!} \langle \hat f_i, \hat f_j \rangle^p

    with features of length 1. Peng et al., "Correlation Congruence for Knowledge Distillation", ICCV 2019. Zero when
    the sides are equal up to a rotation and a scale of each sample.

    Args:
        f_s, f_t: [B, ...] features of the same samples, of any sizes.
        kernel: "polynomial", the series up to the power `order`, as the paper has it, or "gaussian", all of it.
        gamma: width of the kernel.

    Raises:
        DataError: the numbers of samples differ.
        ConfigError: unknown kernel.

    Differences: written from the published formula; gamma = .4 and order 2 are the values known from re-implementations
    and were not checked against the paper's text. The paper's other two kernels are left out.
    """
    _check(f_s, f_t)
    if kernel not in ("polynomial", "gaussian"):
        raise ConfigError(f"kernel is '{kernel}'; expected 'polynomial' or 'gaussian'.")
    k_s, k_t = (2 * gamma * _cosines(f) for f in (f_s, f_t))
    if kernel == "gaussian":
        k_s, k_t = (k_s - 2 * gamma).exp(), (k_t - 2 * gamma).exp()
    else:
        k_s, k_t = (_series(k, order) * math.exp(-2 * gamma) for k in (k_s, k_t))
    return _mean_square(k_s, k_t)


def consecutive_product(f_s: Tensor, f_t: Tensor) -> Tensor:
    r"""Product of the errors of samples that follow each other in a batch.

    .. math:: L = \frac{1}{B - 1} \sum_{b < B} \langle |f_s[b] - f_t[b]|, |f_s[b + 1] - f_t[b + 1]| \rangle

    What the common code (RepDistiller) trains under the name of correlation congruence. It depends on the order of
    the batch, and is 0 wherever every other sample is matched. Zero when the sides are equal, 0 below two samples.

    Args:
        f_s, f_t: [B, C] features of the same samples.
    """
    _check(f_s, f_t)
    if f_s.shape != f_t.shape:
        raise DataError(f"Student features have shape {tuple(f_s.shape)}, teacher features {tuple(f_t.shape)}.")
    error = (f_s - f_t).to(accumulator(f_s, f_t)).abs()
    return (error[:-1] * error[1:]).sum() / max(error.size(0) - 1, 1)


def _check(f_s: Tensor, f_t: Tensor) -> None:
    if f_s.size(0) != f_t.size(0):
        raise DataError(f"Student features are of {f_s.size(0)} samples, teacher features of {f_t.size(0)}.")


def _mean_square(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum() / max(a.numel(), 1)


def _similarity(f: Tensor) -> Tensor:
    rows = f.flatten(1).to(accumulator(f))
    return F.normalize(inner_products(rows, rows), dim=1)


def _cosines(f: Tensor) -> Tensor:
    rows = F.normalize(f.flatten(1).to(accumulator(f)), dim=1)
    return inner_products(rows, rows)


def _neighbour_chances(f: Tensor) -> Tensor:
    near = (1 + _cosines(f)).clamp(min=0) / 2
    return near / near.sum(1, keepdim=True).clamp(min=torch.finfo(near.dtype).tiny)


def _series(x: Tensor, order: int) -> Tensor:
    """The exponential function's power series up to `order`."""
    term = total = torch.ones_like(x)
    for power in range(1, order + 1):
        term = term * x / power
        total = total + term
    return total
