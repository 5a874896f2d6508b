"""Compressed rows cut into pieces of bounded length, so that no program has to work through a hub alone."""

from __future__ import annotations

import torch
from torch import Tensor

#: Most entries of a piece.
LENGTH = 512


class Pieces:
    """Rows by the piece: one each, more for rows of more than `LENGTH` entries.

    A program takes a piece. What it adds up is the result of its row, or, where a row has several pieces, goes to a
    place of its own among `places`; those of a row follow each other and are added up in that order afterwards.

    Attributes:
        count: P, number of pieces.
        start, end: [P] entries of each piece.
        split: whether any row has several. If not, piece r is row r, and what follows is None.
        row: [P] row of each piece.
        first: [rows + 1] first piece of each row, and P.
        place: [P] int32 place of its sum, -1 where the row has no other piece.
        split_row: [S] rows that have several.
        split_start: [S + 1] places of each.
        longest: most entries of a row.
    """

    row: Tensor | None = None
    first: Tensor | None = None
    place: Tensor | None = None
    split_row: Tensor | None = None
    split_start: Tensor | None = None

    def __init__(self, rowptr: Tensor, length: int | None = None) -> None:
        length = LENGTH if length is None else length
        size = rowptr[1:] - rowptr[:-1]
        self.longest = int(size.max()) if size.numel() else 0
        self.split = self.longest > length
        self.places = 0
        if not self.split:
            self.count, self.start, self.end = size.numel(), rowptr[:-1], rowptr[1:]
            return
        pieces = ((size + length - 1) // length).clamp_(min=1)
        self.first = torch.cat([pieces.new_zeros(1), pieces.cumsum(0)])
        self.count = int(self.first[-1])
        self.row = torch.repeat_interleave(pieces, output_size=self.count)
        ordinal = torch.arange(self.count, device=rowptr.device) - self.first[self.row]
        self.start = rowptr[self.row] + ordinal * length
        self.end = torch.minimum(self.start + length, rowptr[self.row + 1])
        several = pieces > 1
        of_several = several[self.row]
        self.place = torch.where(of_several, of_several.cumsum(0) - 1, -1).int()
        self.split_row = several.nonzero().squeeze(1)
        ends = pieces[self.split_row].cumsum(0)
        self.split_start = torch.cat([ends.new_zeros(1), ends])
        self.places = int(ends[-1])
