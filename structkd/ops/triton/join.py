"""What all sums over compressed rows share: the piece a program takes, where its sum goes, and adding up pieces."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from structkd.ops.pieces import Pieces
from structkd.ops.triton.launch import power_of_2, start


@triton.jit
def piece_of(row, begin, end, SPLIT: tl.constexpr):
    """Row and entries of this program's piece, in int64."""
    piece = tl.program_id(0).to(tl.int64)
    r = piece
    if SPLIT:
        r = tl.load(row + piece).to(tl.int64)
    return r, tl.load(begin + piece).to(tl.int64), tl.load(end + piece).to(tl.int64)


@triton.jit
def put_sum(total, r, c, C, out, place, partial, SPLIT: tl.constexpr):
    """Write a piece's sum [BLOCK_C] to its row of `out`, or among `partial` where the row has several pieces."""
    inside = c < C
    if SPLIT:
        p = tl.load(place + tl.program_id(0).to(tl.int64)).to(tl.int64)
        tl.store(out + r * C + c, total.to(out.dtype.element_ty), mask=inside & (p < 0))
        tl.store(partial + p * C + c, total, mask=inside & (p >= 0))
    else:
        tl.store(out + r * C + c, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def join_kernel(partial, row, begin, out, C, BLOCK_C: tl.constexpr):
    # `begin` is int64, and so is p.
    k = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    total = tl.zeros([BLOCK_C], dtype=partial.dtype.element_ty)
    for p in range(tl.load(begin + k), tl.load(begin + k + 1)):
        total += tl.load(partial + p * C + c, mask=c < C, other=0)
    r = tl.load(row + k).to(tl.int64)
    tl.store(out + r * C + c, total.to(out.dtype.element_ty), mask=c < C)


class Sums:
    """Room for one sum over the rows of `pieces`: `out` [rows, C], and what the pieces of long rows add up to."""

    def __init__(self, pieces: Pieces, rows: int, channels: int, dtype: torch.dtype, like: Tensor) -> None:
        self.pieces, self.channels = pieces, channels
        self.out = like.new_empty(rows, channels, dtype=dtype)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.partial = like.new_empty(pieces.places, channels, dtype=wide) if pieces.split else self.out

    def finish(self) -> Tensor:
        """Add up the pieces of long rows, and return all sums."""
        if self.pieces.split:
            assert self.pieces.split_row is not None and self.pieces.split_start is not None
            block = min(power_of_2(self.channels), 128)
            grid = (self.pieces.split_row.numel(), triton.cdiv(self.channels, block))
            start(
                join_kernel, grid, self.out,
                self.partial, self.pieces.split_row, self.pieces.split_start, self.out, self.channels, BLOCK_C=block,
            )  # fmt: skip
        return self.out


def piece_arguments(pieces: Pieces) -> tuple[Any, ...]:
    """(row, begin, end, place) for a kernel; where no row is split the first and last are not read."""
    unread = pieces.start
    return (
        pieces.row if pieces.split else unread,
        pieces.start,
        pieces.end,
        pieces.place if pieces.split else unread,
    )


__all__ = ["Sums", "piece_arguments", "piece_of", "put_sum"]
