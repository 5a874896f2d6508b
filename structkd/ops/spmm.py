"""Sparse times dense, and its dual: what a graph layer does forward, and what it owes backward.

`spmm` sums features along edges, `edge_dot` compares features across edges. Each is the other's derivative,

    d spmm(v, x) / dx  -> spmm of the transpose,     d spmm(v, x) / dv      -> edge_dot(g, x),
    d edge_dot(a, b) / da -> spmm(g, b),             d edge_dot(a, b) / db  -> spmm of the transpose,

so two products and the cached transpose give gradients of every order, and none of them holds [E, C].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from structkd.backends import Backend, Op
from structkd.errors import DataError
from structkd.ops.csr import CSR
from structkd.ops.precision import accumulator
from structkd.ops.triton.launch import refusals


def spmm(csr: CSR, x: Tensor, value: Tensor | None = None, *, backend: str | None = None) -> Tensor:
    """Sum features along edges: out[d] = sum over edges s -> d of value * x[s].

    Args:
        csr: the edges.
        x: [num_src, C] floating point; half and bfloat16 are summed in float32.
        value: [E] weights in the order of the edge list that `csr` was built from; they replace `csr.value`
            and get a gradient. Default: `csr.value`, a constant, or else ones.
        backend: `triton` (CUDA; deterministic, reads half and bfloat16 as they are), `csr` (torch's compressed row
            product) or `gather` (the reference; holds [E, C]).

    Returns:
        [num_dst, C] in the dtype of `x`; zero for a target without edges.
    """
    _check_rows("x", x, csr.shape[1], csr)
    if value is not None and (value.shape != (csr.num_edges,) or value.device != csr.device):
        raise DataError(
            f"value has shape {tuple(value.shape)} on {value.device}; expected [{csr.num_edges}] on {csr.device}, "
            "one weight an edge."
        )
    return SPMM(csr, x, value, backend=backend)


def edge_dot(csr: CSR, a: Tensor, b: Tensor, *, backend: str | None = None) -> Tensor:
    """Compare features across edges: out[e] = <a[d], b[s]> for each edge e = (s -> d).

    Args:
        csr: the edges; `csr.value` plays no part.
        a: [num_dst, C] floating point; half and bfloat16 are summed in float32.
        b: [num_src, C].
        backend: `triton` (CUDA), `csr` (torch's sampled product) or `gather` (the reference; holds [E, C]).

    Returns:
        [E] in the order of the edge list that `csr` was built from, in the common dtype of `a` and `b`.
    """
    _check_rows("a", a, csr.shape[0], csr)
    _check_rows("b", b, csr.shape[1], csr)
    if a.size(1) != b.size(1):
        raise DataError(f"a has {a.size(1)} features and b has {b.size(1)}; expected as many.")
    return EDGE_DOT(csr, a, b, backend=backend)


def _check_rows(name: str, x: Tensor, rows: int, csr: CSR) -> None:
    if x.dim() != 2 or x.size(0) != rows or x.device != csr.device:
        raise DataError(
            f"{name} has shape {tuple(x.shape)} on {x.device}; expected [{rows}, C] on {csr.device} for {csr}."
        )


class Products(NamedTuple):
    """Who computes both products, without gradients: `rows(csr, x, value)` and `sampled(csr, a, b)`."""

    rows: Callable[[CSR, Tensor, Tensor | None], Tensor]
    sampled: Callable[[CSR, Tensor, Tensor], Tensor]


class _Spmm(Function):
    @staticmethod
    def forward(ctx: Any, products: Products, csr: CSR, x: Tensor, value: Tensor | None) -> Tensor:
        ctx.products, ctx.csr = products, csr
        # The features are needed only where the weights learn, the weights only where they were given.
        learns = ctx.needs_input_grad[3]
        ctx.save_for_backward(x if learns else None, value)
        return products.rows(csr, x, value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, value = ctx.saved_tensors
        grad_x = _Spmm.apply(ctx.products, ctx.csr.t(), grad, value) if ctx.needs_input_grad[2] else None
        grad_value = None
        if ctx.needs_input_grad[3]:
            grad_value = _EdgeDot.apply(ctx.products, ctx.csr, grad, x).to(value.dtype)
        return None, None, grad_x, grad_value


class _EdgeDot(Function):
    @staticmethod
    def forward(ctx: Any, products: Products, csr: CSR, a: Tensor, b: Tensor) -> Tensor:
        ctx.products, ctx.csr = products, csr
        ctx.save_for_backward(a, b)
        return products.sampled(csr, a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        grad_a = grad_b = None
        if ctx.needs_input_grad[2]:
            grad_a = _Spmm.apply(ctx.products, ctx.csr, b, grad).to(a.dtype)
        if ctx.needs_input_grad[3]:
            grad_b = _Spmm.apply(ctx.products, ctx.csr.t(), a, grad).to(b.dtype)
        return None, None, grad_a, grad_b


def _row_product(csr: CSR, x: Tensor, value: Tensor | None) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return csr.matrix(x.dtype, value) @ x.contiguous()


def _sampled_product(csr: CSR, a: Tensor, b: Tensor) -> Tensor:
    padded, rows = _with_room(csr, a)
    with torch.autocast(a.device.type, enabled=False):
        pattern = padded.matrix(a.dtype)
        dots = torch.sparse.sampled_addmm(pattern, rows.contiguous(), b.contiguous().t(), beta=0.0).values()
    return torch.empty_like(dots).index_copy_(0, csr.eid, dots)


_TORCH = Products(_row_product, _sampled_product)


def _kernels() -> Products:
    from structkd.ops.triton.spmm import row_product, sampled_product

    return Products(row_product, sampled_product)


def _with_room(csr: CSR, a: Tensor) -> tuple[CSR, Tensor]:
    """Add empty rows until the matrix has a place for every entry.

    Parallel edges may outnumber the places of a small matrix, and then torch's sampled product fails; as long
    as there is room it computes them one by one like all others.
    """
    missing = -(-csr.num_edges // max(csr.shape[1], 1)) - csr.shape[0]
    if missing <= 0:
        return csr, a
    rowptr = torch.cat([csr.rowptr, csr.rowptr[-1:].expand(missing)])
    shape = (csr.shape[0] + missing, csr.shape[1])
    return CSR(rowptr, csr.col, csr.eid, None, shape), F.pad(a, (0, 0, 0, missing))


def _spmm_csr(csr: CSR, x: Tensor, value: Tensor | None = None) -> Tensor:
    dtype = accumulator(x)
    value = None if value is None else value.to(dtype)
    return _Spmm.apply(_TORCH, csr, x.to(dtype), value).to(x.dtype)


def _spmm_triton(csr: CSR, x: Tensor, value: Tensor | None = None) -> Tensor:
    return _Spmm.apply(_kernels(), csr, x, value)


def _edge_dot_triton(csr: CSR, a: Tensor, b: Tensor) -> Tensor:
    return _EdgeDot.apply(_kernels(), csr, a, b)


def _spmm_gather(csr: CSR, x: Tensor, value: Tensor | None = None) -> Tensor:
    dtype = accumulator(x)
    weight = csr.value if value is None else value[csr.eid]
    messages = x.to(dtype)[csr.col]
    if weight is not None:
        messages = messages * weight.to(dtype)[:, None]
    return messages.new_zeros(csr.shape[0], x.size(1)).index_add(0, csr.row, messages).to(x.dtype)


def _edge_dot_csr(csr: CSR, a: Tensor, b: Tensor) -> Tensor:
    dtype = accumulator(a, b)
    return _EdgeDot.apply(_TORCH, csr, a.to(dtype), b.to(dtype)).to(torch.promote_types(a.dtype, b.dtype))


def _edge_dot_gather(csr: CSR, a: Tensor, b: Tensor) -> Tensor:
    dtype = accumulator(a, b)
    dots = (a.to(dtype)[csr.row] * b.to(dtype)[csr.col]).sum(1)
    return torch.zeros_like(dots).index_copy(0, csr.eid, dots).to(torch.promote_types(a.dtype, b.dtype))


def _no_csr_product(csr: CSR | None = None, *tensors: Tensor | None) -> list[str]:
    if csr is not None and csr.device.type not in ("cpu", "cuda"):
        return [f"torch has no compressed row product on {csr.device.type}"]
    return []


def _no_triton(csr: CSR | None = None, *tensors: Tensor | None) -> list[str]:
    return refusals(*tensors, None if csr is None else csr.value)


SPMM = Op(
    "spmm",
    [
        Backend("triton", _spmm_triton, _no_triton),
        Backend("csr", _spmm_csr, _no_csr_product),
        Backend("gather", _spmm_gather),
    ],
)
EDGE_DOT = Op(
    "edge_dot",
    [
        Backend("triton", _edge_dot_triton, _no_triton),
        Backend("csr", _edge_dot_csr, _no_csr_product),
        Backend("gather", _edge_dot_gather),
    ],
)
