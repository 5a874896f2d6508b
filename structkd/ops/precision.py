"""In which precision sums are taken."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.errors import DataError


def accumulator(*tensors: Tensor) -> torch.dtype:
    """The dtype to sum these tensors in: their common one, but float32 for half and bfloat16.

    A node of high degree adds thousands of terms; half precision stops counting at 2048 and bfloat16 at 256.
    """
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    if not dtype.is_floating_point:
        raise DataError(f"Got a tensor of {dtype}; expected floating point values.")
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def inner_products(a: Tensor, b: Tensor) -> Tensor:
    """Products of all rows, [N, C] and [M, C] -> [N, M], in the dtype they come in, under autocast too.

    For similarities: what a loss reads out of them (differences, logarithms) is smaller than bfloat16's rounding.
    """
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.t()
