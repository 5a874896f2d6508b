"""Compiles every kernel for a GPU that need not be there, as one call of each op starts it; prints one line each.

Run in a process of its own, without TRITON_INTERPRET: see test_compiles.py.
"""

import importlib
import pkgutil
import sys

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import structkd.ops.triton
from structkd.backends import OPS
from structkd.ops import CSR, edge_difference, edge_difference_kl, knn, segment_kl, segment_max, segment_softmax, spmm
from structkd.ops import pieces as pieces_of
from structkd.ops.triton import launch

NAMES = {torch.float64: "fp64", torch.float32: "fp32", torch.bfloat16: "bf16", torch.int64: "i64", torch.int32: "i32"}
NAMES[torch.int8] = "i8"
SEEN = set()


def type_of(argument):
    if isinstance(argument, torch.Tensor):
        return "*" + NAMES[argument.dtype]
    return {bool: "i1", int: "i32", float: "fp32"}[type(argument)]


def compile_only(kernel, grid, device_of, *arguments, **options):
    """In place of `launch.start`; the outputs stay as they were."""
    if kernel.fn.__name__ in SEEN:
        return
    SEEN.add(kernel.fn.__name__)
    given = {key: options.pop(key) for key in ("num_warps",) if key in options}
    signature = {name: type_of(argument) for name, argument in zip(kernel.arg_names, arguments)}
    signature |= dict.fromkeys(options, "constexpr")
    assert sorted(signature) == sorted(kernel.arg_names), (list(signature), kernel.arg_names)
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind.startswith("*")}
    source = ASTSource(kernel, signature, options, aligned)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=given)
    assert made.asm["cubin"]
    print(kernel.fn.__name__, made.metadata.shared, flush=True)


def main():
    for module in pkgutil.iter_modules(structkd.ops.triton.__path__):
        loaded = importlib.import_module(f"structkd.ops.triton.{module.name}")
        if hasattr(loaded, "start"):
            loaded.start = compile_only
    # Kernels that do not run leave zeros, since some outputs are row numbers that are read on.
    torch.empty, torch.empty_like, torch.Tensor.new_empty = torch.zeros, torch.zeros_like, torch.Tensor.new_zeros
    pieces_of.LENGTH = 3  # so that rows are split, and pieces joined
    torch.manual_seed(0)
    edges = torch.randint(13, (2, 60))
    x, y = torch.randn(2, 13, 40).bfloat16().requires_grad_().unbind()
    index, centers = torch.randint(13, (9, 5)), torch.randn(9, 40).bfloat16()
    scores = torch.randn(60, requires_grad=True)
    boxes = torch.rand(20, 5, dtype=torch.float64)
    coords = torch.zeros(13, 4, dtype=torch.int64)
    points = torch.rand(13, 4), torch.zeros(13, dtype=torch.int64), torch.zeros(3), torch.ones(3), (1, 2, 2)
    options = {"backend": "triton"}
    with launch.interpreted():  # takes tensors on the CPU
        edge_difference_kl(x, y.detach(), edges, **options)
        spmm(CSR.from_edges(edges, 13), x, scores, **options).sum().backward()
        segment_max(scores, edges[1], 13, **options)
        segment_softmax(scores, edges[1], 13, **options).sum().backward()
        segment_kl(scores.detach(), scores, edges[1], 13, **options).sum().backward()
        edge_difference((x, centers), (y.detach(), centers), index, **options)
        knn(x, 5, **options)
        OPS["scatter_to_grid"](x, coords, 1, (1, 2, 2), **options)
        OPS["cells_of_points"](*points, **options)
        OPS["rotated_intersection"](boxes, boxes, **options)
        OPS["nms_rotated"](boxes, 0.1, None, **options)
        sizes, weight = torch.tensor([5, 8]), torch.randn(2, 6, 40).bfloat16().requires_grad_()
        OPS["grouped_matmul"](x, weight, sizes, **options).sum().backward()
        OPS["edge_square_distance"](x, edges, **options).sum().backward()


if __name__ == "__main__":
    sys.exit(main())
