"""Contrast of aligned rows by tiles: never a matrix of all rows against all."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.backends import Backend, Op
from structkd.errors import ConfigError, DataError
from structkd.ops.known_gradient import with_gradient
from structkd.ops.precision import accumulator

#: Numbers in the one tile that is held. On the CPU 4 MB in float32: more falls out of the caches, less starves the
#: products. On a GPU, large enough to fill it.
TILE = {"cpu": 1 << 20, "cuda": 1 << 26}


def info_nce(x: Tensor, y: Tensor, tau: float = 0.1, *, backend: str | None = None) -> Tensor:
    r"""How poorly each row of `x` tells its own row of `y` from all others.

    .. math:: L = -\frac{1}{N} \sum_i \log \frac{\exp(\langle x_i, y_i \rangle / \tau)}
                                               {\sum_j \exp(\langle x_i, y_j \rangle / \tau)}

    van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018, equation 4. Never below 0;
    0 for a single row. Equal sides are not its minimum: rows can still move away from those they resemble.

    The default backend makes the scores of some rows at a time. Their softmax gives the loss, and with two more
    products the whole gradient of those rows, so that it is added up in the same visit and backward only scales: a
    backward pass of its own would have to make every score again. Extra memory: one tile of a few MB, and a gradient
    for each side that learns.

    Args:
        x: [N, C] queries.
        y: [N, C] keys, row i the positive of query i. Either side may learn; gradients are of first order. Half and
            bfloat16 are computed in float32.
        tau: temperature.
        backend: `blockwise`, or `naive` (the reference; holds [N, N] several times).

    Returns:
        A scalar; 0 without rows.

    Raises:
        DataError: the shapes differ.
        ConfigError: tau is not positive.
    """
    if x.dim() != 2 or x.shape != y.shape:
        raise DataError(f"info_nce got rows {tuple(x.shape)} and {tuple(y.shape)}; expected one shape [N, C].")
    if not tau > 0:
        raise ConfigError(f"tau is {tau}; a temperature is positive.")
    return INFO_NCE(x, y, tau, backend=backend)


def _naive(x: Tensor, y: Tensor, tau: float) -> Tensor:
    dtype = accumulator(x, y)
    scores = x.to(dtype) @ y.to(dtype).t() / tau
    return -torch.log_softmax(scores, 1).diagonal().sum() / max(x.size(0), 1)


def _blockwise(x: Tensor, y: Tensor, tau: float) -> Tensor:
    dtype, n = accumulator(x, y), x.size(0)
    learns = [torch.is_grad_enabled() and side.requires_grad for side in (x, y)]
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        q, keys = x.to(dtype), y.to(dtype)
        gradients = [torch.zeros_like(side) if one else None for side, one in zip((q, keys), learns)]
        height = max(1, TILE.get(x.device.type, TILE["cuda"]) // max(n, 1))
        buffer = q.new_empty(min(height, n), n)
        terms = [q.new_zeros(())]
        for top in range(0, n, height):
            rows = slice(top, min(top + height, n))
            terms.append(_visit(q, keys, rows, tau, buffer[: rows.stop - top], gradients))
        value = torch.stack(terms).sum() / max(n, 1)
    return _learning(value, [(side, gradient) for side, gradient in zip((x, y), gradients) if gradient is not None])


def _visit(x: Tensor, y: Tensor, rows: slice, tau: float, tile: Tensor, gradients: list[Tensor | None]) -> Tensor:
    """The terms of some rows, added up; their derivatives are added to `gradients`. All scores live in `tile`."""
    scores = torch.mm(x[rows], y.t(), out=tile).div_(tau)
    own = scores.diagonal(rows.start)
    largest = scores.amax(1)
    positive = own - largest
    weight = scores.sub_(largest.unsqueeze(1)).exp_()
    total = weight.sum(1)
    if any(gradient is not None for gradient in gradients):
        # d L / d score = softmax - one at the positive.
        slope = weight.div_(total.unsqueeze(1))
        own -= 1
        slope.div_(tau * x.size(0))
        for_x, for_y = gradients
        if for_x is not None:
            torch.mm(slope, y, out=for_x[rows])
        if for_y is not None:
            for_y.addmm_(slope.t(), x[rows])
    return (total.log() - positive).sum()


def _learning(value: Tensor, known: list[tuple[Tensor, Tensor]]) -> Tensor:
    """`value` with a known derivative by each of some tensors; the first carries the value, the others add zero."""
    if not known:
        return value
    first, *others = known
    total = with_gradient(value, first[0], first[1].to(first[0].dtype))
    for side, gradient in others:
        total = total + with_gradient(torch.zeros_like(value), side, gradient.to(side.dtype))
    return total


INFO_NCE = Op("info_nce", [Backend("blockwise", _blockwise), Backend("naive", _naive)])
