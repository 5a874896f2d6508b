"""Ops as torch.compile and torch.export see them: one node each, whatever runs behind it.

While a program is traced its tensors hold no numbers, so neither can a backend be chosen nor ids be sorted. An op is
then a custom operator of the library `structkd`, whose shapes are declared here; when the program runs, that node
chooses a backend as always (by reasons, by `use_backend` and by the environment, at that time; by the argument
`backend`, as it was traced). Backward is a node too: it runs the op's forward once more and differentiates that, as
checkpointing does. Programs that are not traced never come here.

What a traced op does not do is look at values: ids out of range or coordinates that are not finite go unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op, get_ctx

from structkd.backends import OPS
from structkd.ops.csr import CSR, csr_of
from structkd.ops.memo import TensorMemo
from structkd.ops.precision import accumulator

Flat = tuple[Any, ...]


def trace(
    name: str,
    arguments: str,
    fake: Callable[..., Any],
    returns: str = "Tensor",
    flatten: Callable[..., Flat] = lambda *arguments: arguments,
    restore: Callable[..., Flat] = lambda *arguments: arguments,
) -> None:
    """Let an op be traced.

    Args:
        name: of the op.
        arguments, returns: as a schema of torch.library has them, names and types.
        fake: the result's shape and dtype from the same arguments, as empty tensors.
        flatten, restore: from the op's arguments to those, and back, where some are no tensors or numbers.
    """
    op = OPS[name]

    def run(*flat: Any) -> Any:
        *given, backend = flat
        out = op.select(*(given := list(restore(*given))), backend=backend).run(*given)
        return _fresh(out, flat)

    def differentiate(grad: Tensor, wants: Sequence[bool], *flat: Any) -> list[Tensor]:
        *given, backend = flat
        leaves = [x.detach().requires_grad_() if want else x for x, want in zip(given, wants, strict=True)]
        with _recording():
            out = op(*restore(*leaves), backend=backend)
        asked = [leaf for leaf, want in zip(leaves, wants) if want]
        found = torch.autograd.grad(out, asked, grad, allow_unused=True)
        # Laid out as announced below.
        return [torch.empty_like(x).copy_(0 if g is None else g) for x, g in zip(asked, found)]

    forward = custom_op(f"structkd::{name}", run, mutates_args=(), schema=f"({arguments}, str? backend) -> {returns}")
    backward = custom_op(
        f"structkd::{name}_backward",
        differentiate,
        mutates_args=(),
        schema=f"(Tensor grad, bool[] wants, {arguments}, str? backend) -> Tensor[]",
    )
    forward.register_fake(lambda *flat: fake(*flat[:-1]))
    backward.register_fake(lambda grad, wants, *flat: [torch.empty_like(x) for x, w in zip(flat, wants) if w])
    forward.register_autograd(_backward_by(backward), setup_context=_remember)

    def call(*arguments: Any, backend: str | None = None) -> Any:
        return forward(*flatten(*arguments), backend)

    op.traced = call


@contextmanager
def _recording() -> Iterator[None]:
    """Inside of an operator torch records nothing for gradients; inside of this block it does."""
    keys = torch._C.DispatchKey.AutogradFunctionality, torch._C.DispatchKey.ADInplaceOrView
    with ExitStack() as stack:
        for key in keys:
            stack.enter_context(torch._C._SetExcludeDispatchKeyGuard(key, False))
        stack.enter_context(torch.enable_grad())
        yield


def _remember(ctx: Any, inputs: Flat, output: Any) -> None:
    ctx.save_for_backward(*(x for x in inputs if isinstance(x, Tensor)))
    ctx.constants = [None if isinstance(x, Tensor) else (x,) for x in inputs]


def _backward_by(operator: Any) -> Callable[..., Any]:
    def backward(ctx: Any, grad: Tensor, *others: Any) -> Any:
        saved = iter(ctx.saved_tensors)
        inputs = [next(saved) if constant is None else constant[0] for constant in ctx.constants]
        wants = [bool(need) and isinstance(x, Tensor) for need, x in zip(ctx.needs_input_grad, inputs)]
        found = iter(operator(grad, wants[:-1], *inputs))
        return tuple(next(found) if want else None for want in wants)

    return backward


def _fresh(out: Any, inputs: Flat) -> Any:
    """A custom operator's results share no memory with what it was given."""
    taken = {x.untyped_storage().data_ptr() for x in inputs if isinstance(x, Tensor)}

    def copied(x: Tensor) -> Tensor:
        return x.clone() if x.untyped_storage().data_ptr() in taken else x

    return tuple(copied(x) for x in out) if isinstance(out, tuple) else copied(out)


# Compressed rows are tensors and a width here. `_csr_of_column` knows whose they were, and so their transpose.
CSR_ARGUMENTS = "Tensor rowptr, Tensor col, Tensor eid, Tensor? own_value, int num_src"


def _flat_csr(csr: CSR, *rest: Any) -> Flat:
    return (csr.rowptr, csr.col, csr.eid, csr.value, csr.shape[1], *rest)


def _restored_csr(rowptr: Tensor, col: Tensor, eid: Tensor, value: Tensor | None, num_src: int, *rest: Any) -> Flat:
    return (_csr_of_column(col)(rowptr, eid, value, num_src), *rest)


class _Column:
    """The compressed rows of a column of sources; its parts are held, the column itself by another name."""

    def __init__(self, col: Tensor) -> None:
        self.col, self.csr = col.detach(), None

    csr: CSR | None

    def __call__(self, rowptr: Tensor, eid: Tensor, value: Tensor | None, num_src: int) -> CSR:
        known = self.csr
        if known is None or known.shape != (rowptr.numel() - 1, num_src) or known.value is not value:
            self.csr = CSR(rowptr.detach(), self.col, eid.detach(), value, (rowptr.numel() - 1, num_src))
        assert self.csr is not None
        return self.csr


_csr_of_column = TensorMemo(_Column)


@custom_op("structkd::csr", mutates_args=())
def _csr(edge_index: Tensor, num_dst: int, num_src: int) -> tuple[Tensor, Tensor, Tensor]:
    csr = csr_of(edge_index, num_dst, num_src)
    # Copies: a compiled program may write over what an operator gave it.
    rowptr, col, eid = csr.rowptr.clone(), csr.col.clone(), csr.eid.clone()
    _csr_of_column(col).csr = csr
    return rowptr, col, eid


@_csr.register_fake
def _(edge_index: Tensor, num_dst: int, num_src: int) -> tuple[Tensor, Tensor, Tensor]:
    edges = edge_index.size(1)
    return edge_index.new_empty(num_dst + 1), edge_index.new_empty(edges), edge_index.new_empty(edges)


def traced_csr(edge_index: Tensor, num_dst: int, num_src: int) -> CSR:
    """`csr_of` as a node."""
    rowptr, col, eid = _csr(edge_index, num_dst, num_src)
    return CSR(rowptr, col, eid, None, (num_dst, num_src))


def _common(a: Tensor, b: Tensor) -> torch.dtype:
    return torch.promote_types(a.dtype, b.dtype)


def _scattered(x: Tensor, coords: Tensor, num_scenes: int, grid: Sequence[int]) -> Tensor:
    depth, height, width = grid
    return x.new_empty(num_scenes, height, width, x.size(1) * depth).permute(0, 3, 1, 2)


def _neighbors(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    found = get_ctx().new_dynamic_size()
    return x.new_empty(2, found, dtype=torch.int64), x.new_empty(found)


def _register() -> None:
    """Let every op be traced that compiled programs may want."""
    segment = "Tensor src, Tensor index, SymInt num_segments"
    trace(
        "spmm",
        f"{CSR_ARGUMENTS}, Tensor x, Tensor? value",
        lambda rowptr, col, eid, own, n, x, value=None: x.new_empty(rowptr.size(0) - 1, x.size(1)),
        flatten=lambda csr, x, value=None: _flat_csr(csr, x, value),
        restore=_restored_csr,
    )
    trace(
        "edge_dot",
        f"{CSR_ARGUMENTS}, Tensor a, Tensor b",
        lambda rowptr, col, eid, own, n, a, b: a.new_empty(col.size(0), dtype=_common(a, b)),
        flatten=_flat_csr,
        restore=_restored_csr,
    )
    for name in ("segment_sum", "segment_max"):
        trace(name, segment, lambda src, index, n: src.new_empty(n, *src.shape[1:]))
    trace("segment_softmax", f"{segment}, bool log", lambda src, *rest: src.new_empty(src.shape))
    trace(
        "segment_kl",
        "Tensor score_p, Tensor score_q, Tensor index, SymInt num_segments, Tensor? zeros",
        lambda p, q, index, n, zeros=None: p.new_empty(n, dtype=accumulator(p, q)),
    )
    trace(
        "edge_difference_kl",
        "Tensor z_s, Tensor z_t, Tensor edge_index, float tau, Tensor? edge_scale, bool cache_teacher",
        lambda s, t, *rest: s.new_empty((), dtype=accumulator(s, t)),
        flatten=lambda s, t, edges, tau, scale=None, cache=False: (s, t, edges, tau, scale, cache),
    )
    trace(
        "edge_difference",
        "Tensor u_s, Tensor v_s, Tensor u_t, Tensor v_t, Tensor index, Tensor? weight",
        lambda u_s, v_s, u_t, v_t, *rest: u_s.new_empty((), dtype=accumulator(u_s, v_s, u_t, v_t)),
    )
    trace("neighbor_max", "Tensor u, Tensor index", lambda u, index: u.new_empty(index.size(0), u.size(1)))
    trace("edge_square_distance", "Tensor x, Tensor edge_index", lambda x, edges: x.new_empty(edges.size(1)))
    trace("info_nce", "Tensor x, Tensor y, float tau", lambda x, y, tau: x.new_empty((), dtype=accumulator(x, y)))
    trace(
        "grouped_matmul", "Tensor x, Tensor weight, Tensor sizes", lambda x, w, sizes: x.new_empty(x.size(0), w.size(1))
    )
    trace("scatter_to_grid", "Tensor x, Tensor coords, SymInt num_scenes, SymInt[] grid", _scattered)
    trace(
        "cells_of_points",
        "Tensor points, Tensor batch, Tensor low, Tensor size, SymInt[] grid",
        lambda points, *rest: points.new_empty(points.size(0), dtype=torch.int64),
    )
    trace(
        "knn",
        "Tensor x, Tensor y, int k, Tensor? batch_x, Tensor? batch_y, str metric, bool others, int block",
        _neighbors,
        returns="(Tensor, Tensor)",
    )
    for name in ("nms", "nms_rotated"):
        trace(
            name,
            "Tensor boxes, float threshold, Tensor? groups",
            lambda boxes, *rest: boxes.new_empty(boxes.size(0), dtype=torch.bool),
        )
    trace("rotated_intersection", "Tensor a, Tensor b", lambda a, b: a.new_empty(a.size(0)))
    trace(
        "points_in_boxes",
        "Tensor points, Tensor boxes",
        lambda points, boxes: points.new_empty(boxes.size(0), points.size(0), dtype=torch.bool).t(),
    )


_register()
