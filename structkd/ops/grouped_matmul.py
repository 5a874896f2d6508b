"""Rows of experts times the experts' matrices: one product a group, groups of any size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from structkd.backends import Backend, Op
from structkd.errors import DataError
from structkd.ops.precision import accumulator
from structkd.ops.triton.launch import refusals

#: Bytes that the kernel of torch wants between two rows of each of its matrices.
_STRIDE = 16
#: Groups whose ends a program looks through at once.
_MOST_GROUPS = 4096


def grouped_matmul(x: Tensor, weight: Tensor, sizes: Tensor, *, backend: str | None = None) -> Tensor:
    """Multiply consecutive groups of rows, each by the transpose of its own matrix.

    Args:
        x: [N, C] floating point, the rows of group 0 first, then those of group 1, ...
        weight: [G, D, C], a matrix a group, laid out as `torch.nn.Linear` has it.
        sizes: [G] int64 rows of each group, which add up to N; a group may be empty.
        backend: `grouped` (torch's grouped product, where it has one for the dtype on the device; it wants rows whose
            length is a multiple of 16 bytes), `triton` (CUDA; the dtypes and shapes that torch's leaves out, gradients
            of first order) or `loop` (the reference: one product after another). On CUDA `grouped`
            spares the loop's wait for `sizes`; it is declared by torch's documentation and has been run on CPU only.

    Returns:
        [N, D] in the common dtype of `x` and `weight`, or under autocast in autocast's; half and bfloat16 are summed
        in float32. Differentiable in `x` and `weight`; the matrix of an empty group gets a zero gradient.

    Raises:
        DataError: shapes that do not fit, or sizes that do not add up (the latter is not looked at on CUDA by
            `grouped`, which would have to wait).
    """
    if x.dim() != 2 or weight.dim() != 3 or x.size(1) != weight.size(2) or sizes.shape != weight.shape[:1]:
        raise DataError(
            f"x is {tuple(x.shape)}, weight {tuple(weight.shape)}, sizes {tuple(sizes.shape)}; expected [N, C], "
            "[G, D, C] and [G]."
        )
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    else:
        dtype = torch.promote_types(x.dtype, weight.dtype)
    accumulator(x, weight)  # whole numbers are an error
    with torch.autocast(kind, enabled=False):
        return GROUPED_MATMUL(x.to(dtype), weight.to(dtype), sizes, backend=backend)


def _loop(x: Tensor, weight: Tensor, sizes: Tensor) -> Tensor:
    rows = sizes.tolist()
    if sum(rows) != x.size(0):
        raise DataError(f"The groups have {sum(rows)} rows together, but x has {x.size(0)}.")
    # Empty groups take part, so that every matrix has a gradient, if a zero one.
    if not rows:
        return x @ weight.sum(0).t()  # [0, D], with the gradients that it owes
    return torch.cat([part @ matrix.t() for part, matrix in zip(x.split(rows), weight)])


def _grouped(x: Tensor, weight: Tensor, sizes: Tensor) -> Tensor:
    ends = sizes.cumsum(0)
    if ends.device.type == "cpu" and int(ends[-1]) != x.size(0):
        raise DataError(f"The groups have {int(ends[-1])} rows together, but x has {x.size(0)}.")
    out = F.grouped_mm(x.contiguous(), weight.contiguous().transpose(1, 2), offs=ends.to(torch.int32))
    if out.requires_grad:
        out.register_hook(torch.Tensor.contiguous)  # its backward pass takes no expanded gradient
    return out


def _no_grouped(x: Tensor | None = None, weight: Tensor | None = None, sizes: Tensor | None = None) -> list[str]:
    if not hasattr(F, "grouped_mm"):
        return [f"torch {torch.__version__} has no grouped_mm"]
    if x is None or weight is None:
        return []
    kind = x.device.type
    known = [torch.bfloat16] if kind == "cuda" else [torch.bfloat16, torch.float16, torch.float32]
    if kind not in ("cpu", "cuda"):
        return [f"torch has no grouped product on {kind}"]
    if kind == "cuda" and torch.cuda.get_device_capability(x.device) < (8, 0):
        return ["torch's grouped product needs CUDA capability 8.0"]
    if x.dtype not in known or weight.dtype != x.dtype:
        return [f"torch has no grouped product of {x.dtype} and {weight.dtype} on {kind}"]
    if not weight.numel() or not x.numel():
        return ["nothing to multiply"]
    if odd := [size for size in weight.shape[1:] if size * x.element_size() % _STRIDE]:
        return [f"rows of {odd[0]} numbers of {x.dtype} are no multiple of {_STRIDE} bytes"]
    return []


class _Kernel(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, sizes: Tensor) -> Tensor:
        from structkd.ops.triton.grouped_matmul import rows_product

        ctx.save_for_backward(x, weight, sizes)
        return rows_product(x, weight, sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from structkd.ops.triton.grouped_matmul import rows_product, weight_product

        x, weight, sizes = ctx.saved_tensors
        of_x = rows_product(grad, weight.transpose(1, 2), sizes) if ctx.needs_input_grad[0] else None
        return of_x, weight_product(x, grad, sizes) if ctx.needs_input_grad[1] else None, None


def _no_kernel(x: Tensor | None = None, weight: Tensor | None = None, sizes: Tensor | None = None) -> list[str]:
    reasons = refusals(x, weight, sizes, dtypes=(torch.float16, torch.bfloat16, torch.float32))
    if x is not None and weight is not None and not reasons:
        if x.dtype != weight.dtype:
            return [f"x is {x.dtype} and weight {weight.dtype}"]
        if weight.size(0) > _MOST_GROUPS:
            return [f"{weight.size(0)} groups are more than {_MOST_GROUPS}"]
    return reasons


GROUPED_MATMUL = Op(
    "grouped_matmul",
    [
        Backend("grouped", _grouped, _no_grouped),
        Backend("triton", _Kernel.apply, _no_kernel),
        Backend("loop", _loop),
    ],
)
