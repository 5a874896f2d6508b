"""Greedy suppression: which boxes overlap which as bits, and one walk down the ranks."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from structkd.ops.triton.launch import power_of_2, start
from structkd.ops.triton.rotated_iou import shared_area

#: Boxes in a word of bits.
WORD = 64
#: Boxes compared with those of a word at once.
ROWS = 16


@triton.jit
def overlap_kernel(
    boxes, groups, bits, N, words, threshold,
    ROTATED: tl.constexpr, GROUPS: tl.constexpr, TINY: tl.constexpr, ROUNDING: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    # Bit j of row i: box j, of lower rank, overlaps box i by more than the threshold.
    i = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    word = tl.program_id(1).to(tl.int64)
    lane = tl.arange(0, BLOCK_W).to(tl.int64)
    j = word * BLOCK_W + lane
    may = (i[:, None] < j[None, :]) & (j[None, :] < N)
    if GROUPS:
        may = may & (
            tl.load(groups + i, mask=i < N, other=0)[:, None] == tl.load(groups + j, mask=j < N, other=0)[None, :]
        )
    found = tl.zeros([BLOCK_R], dtype=tl.int64)
    if tl.max(j) > tl.min(i):  # a word of higher ranks alone is empty
        most = tl.load(threshold)
        if ROTATED:
            u = boxes + i * 5
            v = boxes + j * 5
            xa = tl.load(u, mask=i < N, other=0)[:, None]
            ya = tl.load(u + 1, mask=i < N, other=0)[:, None]
            la = tl.load(u + 2, mask=i < N, other=0)[:, None]
            wa = tl.load(u + 3, mask=i < N, other=0)[:, None]
            ta = tl.load(u + 4, mask=i < N, other=0)[:, None]
            xb = tl.load(v, mask=j < N, other=0)[None, :]
            yb = tl.load(v + 1, mask=j < N, other=0)[None, :]
            lb = tl.load(v + 2, mask=j < N, other=0)[None, :]
            wb = tl.load(v + 3, mask=j < N, other=0)[None, :]
            tb = tl.load(v + 4, mask=j < N, other=0)[None, :]
            la = tl.maximum(la, 0.0)
            wa = tl.maximum(wa, 0.0)
            lb = tl.maximum(lb, 0.0)
            wb = tl.maximum(wb, 0.0)
            reach = (tl.sqrt(la * la + wa * wa) + tl.sqrt(lb * lb + wb * wb)) / 2
            may = may & ((xa - xb) * (xa - xb) + (ya - yb) * (ya - yb) < reach * reach)
            area = tl.zeros([BLOCK_R, BLOCK_W], dtype=tl.float64)
            if tl.max(may.to(tl.int32)) > 0:
                area = shared_area(xa, ya, la, wa, ta, xb, yb, lb, wb, tb, TINY, ROUNDING)
            union = la * wa + lb * wb - area
        else:
            u = boxes + i * 4
            v = boxes + j * 4
            x1 = tl.load(u, mask=i < N, other=0)[:, None]
            y1 = tl.load(u + 1, mask=i < N, other=0)[:, None]
            x2 = tl.load(u + 2, mask=i < N, other=0)[:, None]
            y2 = tl.load(u + 3, mask=i < N, other=0)[:, None]
            p1 = tl.load(v, mask=j < N, other=0)[None, :]
            q1 = tl.load(v + 1, mask=j < N, other=0)[None, :]
            p2 = tl.load(v + 2, mask=j < N, other=0)[None, :]
            q2 = tl.load(v + 3, mask=j < N, other=0)[None, :]
            area = tl.maximum(tl.minimum(x2, p2) - tl.maximum(x1, p1), 0.0)
            area = area * tl.maximum(tl.minimum(y2, q2) - tl.maximum(y1, q1), 0.0)
            union = tl.maximum(x2 - x1, 0.0) * tl.maximum(y2 - y1, 0.0)
            union = union + tl.maximum(p2 - p1, 0.0) * tl.maximum(q2 - q1, 0.0) - area
        iou = tl.where(union > 0, area / tl.where(union > 0, union, 1.0), 0.0)
        # Every bit is set at most once, so their sum is the word.
        one = tl.zeros([BLOCK_R, BLOCK_W], dtype=tl.int64) + 1
        found = tl.sum(tl.where(may & (iou > most), one << lane[None, :], 0), 1)
    tl.store(bits + i * words + word, found, mask=i < N)


@triton.jit
def _either(a, b):
    return a | b


@triton.jit
def walk_kernel(bits, keep, N, words, BLOCK_W: tl.constexpr, BLOCK_R: tl.constexpr, WORDS: tl.constexpr):
    # One program of one warp, a word of boxes at a time: first among themselves, one after the other; then what is
    # kept of them drops others, BLOCK_R rows of bits at once.
    w = tl.arange(0, WORDS).to(tl.int64)
    lane = tl.arange(0, BLOCK_W).to(tl.int64)
    dropped = tl.zeros([WORDS], dtype=tl.int64)
    for word in range(0, words):
        i = word * BLOCK_W + lane
        own = tl.load(bits + i * words + word, mask=i < N, other=0)  # among themselves
        gone = tl.sum(tl.where(w == word, dropped, 0))
        for k in range(0, BLOCK_W):
            row = tl.sum(tl.where(lane == k, own, 0))
            gone = tl.where(((gone >> k) & 1) == 0, gone | row, gone)
        kept = ((gone >> lane) & 1) == 0
        tl.store(keep + i, kept.to(tl.int8), mask=i < N)
        for first in range(0, BLOCK_W, BLOCK_R):
            r = first + tl.arange(0, BLOCK_R).to(tl.int64)
            i_r = word * BLOCK_W + r
            active = (((gone >> r) & 1) == 0) & (i_r < N)
            wanted = active[:, None] & (w > word)[None, :] & (w < words)[None, :]
            rows = tl.load(bits + i_r[:, None] * words + w[None, :], mask=wanted, other=0)
            dropped = dropped | tl.reduce(rows, 0, _either)


def kept(boxes: Tensor, threshold: float, groups: Tensor | None, rotated: bool, tiny: float, rounding: float) -> Tensor:
    """Which boxes (float64, by descending rank) are kept, [N] bool."""
    boxes, number = boxes.contiguous(), boxes.size(0)
    words = triton.cdiv(number, WORD)
    bits = torch.empty(number, words, dtype=torch.int64, device=boxes.device)
    keep = torch.empty(number, dtype=torch.int8, device=boxes.device)
    start(
        overlap_kernel, (triton.cdiv(number, ROWS), words), boxes,
        boxes, bits if groups is None else groups.contiguous(), bits, number, words, boxes.new_full((1,), threshold),
        ROTATED=rotated, GROUPS=groups is not None, TINY=tiny, ROUNDING=rounding, BLOCK_R=ROWS, BLOCK_W=WORD,
        num_warps=4,
    )  # fmt: skip
    start(
        walk_kernel, (1 if number else 0,), boxes,
        bits, keep, number, words, BLOCK_W=WORD, BLOCK_R=8, WORDS=power_of_2(words), num_warps=1,
    )  # fmt: skip
    return keep.bool()
