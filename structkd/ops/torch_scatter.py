"""torch-scatter's reductions, for those who have it and want to compare; measured nowhere faster than what runs here.

Its maximum passes over NaN, where `segment_max` returns it, so it is not one of the backends.
"""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor

from structkd.backends import version
from structkd.ops.precision import accumulator


def missing(*args: Any) -> list[str]:
    """Why these cannot run; takes and ignores an op's arguments."""
    return [] if version("torch-scatter") else ["torch-scatter is not installed"]


def scatter_sum(src: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """As `segment_sum`."""
    package = importlib.import_module("torch_scatter")
    total: Tensor = package.scatter_sum(src.to(accumulator(src)), index, 0, dim_size=num_segments)
    return total.to(src.dtype)


def scatter_softmax(src: Tensor, index: Tensor, num_segments: int, log: bool) -> Tensor:
    """As `segment_softmax` or, with `log`, `segment_log_softmax`."""
    package = importlib.import_module("torch_scatter")
    score = src.to(accumulator(src))
    if log:  # without its eps in the logarithm: only empty segments, which nobody reads, have a sum of zero
        out: Tensor = package.scatter_log_softmax(score, index, 0, eps=0.0, dim_size=num_segments)
    else:
        out = package.scatter_softmax(score, index, 0, dim_size=num_segments)
    return out.to(src.dtype)
