"""When Triton kernels can run, and how they are started. Imports no Triton by itself."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
#: A grid has room for so many programs along its first axis.
MOST_PROGRAMS = 2**31 - 1
#: Numbers in a tile: 8 for each of 128 threads, so that a kernel with a handful of tiles leaves room for others.
TILE = 1024
#: Widest row that is held in registers as a whole.
WIDEST = 4096

_interpreting = False


@contextmanager
def interpreted() -> Iterator[None]:
    """Inside the block kernels take tensors on the CPU, for tests.

    The environment must hold TRITON_INTERPRET=1 before Triton is imported for the first time. Its interpreter runs
    each program with NumPy, some thousand times slower than a GPU, so nothing else ever chooses it.
    """
    global _interpreting
    before, _interpreting = _interpreting, True
    try:
        yield
    finally:
        _interpreting = before


def interpreting() -> bool:
    """Whether this is inside of `interpreted`."""
    return _interpreting


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def refusals(*tensors: Tensor | None, dtypes: tuple[torch.dtype, ...] = FLOATS) -> list[str]:
    """Reasons why kernels cannot take these tensors; without any, why there can be no kernels at all."""
    if not _installed():
        return ["triton is not installed"]
    if not _interpreting and not torch.cuda.is_available():
        return ["no CUDA device"]
    place = "cpu" if _interpreting else "cuda"
    for tensor in tensors:
        if tensor is None:
            continue
        if tensor.device.type != place:
            return [f"tensors are on {tensor.device.type}; the kernels run on {place}"]
        if tensor.is_floating_point() and tensor.dtype not in dtypes:
            return [f"no kernel for {tensor.dtype}"]
    return []


def too_wide(channels: int) -> list[str]:
    """The reason, for kernels that hold whole rows."""
    return [f"rows of {channels} numbers are wider than {WIDEST}"] if channels > WIDEST else []


def on(tensor: Tensor) -> Any:
    """Context in which kernels start on the device of `tensor`."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def start(kernel: Any, grid: tuple[int, ...], device_of: Tensor, *arguments: Any, **options: Any) -> None:
    """Start `kernel` over a grid, on the device of a tensor; an empty grid starts nothing."""
    if min(grid) < 1:
        return
    if grid[0] > MOST_PROGRAMS:
        raise RuntimeError(f"A grid of {grid[0]} programs is larger than {MOST_PROGRAMS}.")
    with on(device_of):
        kernel[grid](*arguments, **options)


def rows_of(x: Tensor) -> Tensor:
    """`x` [N, C] with the numbers of each row side by side; copied only where they are not."""
    return x if x.size(1) <= 1 or x.stride(1) == 1 else x.contiguous()


def accumulates_in(dtype: torch.dtype) -> Any:
    """Triton's dtype in which numbers of `dtype` are added up."""
    import triton.language as tl

    return tl.float64 if dtype == torch.float64 else tl.float32


def power_of_2(number: int) -> int:
    """The least power of two that is not below `number`, nor below 1."""
    return 1 << max(number - 1, 0).bit_length()


def tile_of(channels: int, tile: int = TILE, entries: int = 64) -> dict[str, int]:
    """Shape of a tile of entries times whole rows, and the warps it is worth."""
    wide = power_of_2(channels)
    return {
        "BLOCK_C": wide,
        "BLOCK_E": max(1, min(entries, tile // wide)),
        "num_warps": 8 if wide > tile else 4,
    }
