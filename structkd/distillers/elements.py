"""What distillers of elements compare: rows of features, each belonging to a sample (a scene, an image)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from structkd.distillers.grids import visible_cells
from structkd.distillers.sample_ids import check_same_samples, of_samples
from structkd.errors import DataError
from structkd.structure import Structure


class Rows(NamedTuple):
    """Elements of a batch of scenes.

    Attributes:
        x: [N, C] features.
        batch: [N] int64, scene of each row, ascending.
        importance: [N] points in each element's cell, or None where nobody counted.
        pos: [N, D] positions: metres of a sparse element, (row, column) of a map's cell. None where there are none.
    """

    x: Tensor
    batch: Tensor
    importance: Tensor | None
    pos: Tensor | None

    def take(self, chosen: Tensor | slice) -> Rows:
        """The rows of an index, a mask or a slice."""
        return Rows(*(None if value is None else value[chosen] for value in self))  # type: ignore[arg-type]

    def scenes(self) -> list[Rows]:
        """The rows of each scene that has any, in ascending order of scenes."""
        counts = torch.bincount(self.batch).tolist() if self.batch.numel() else []
        found, start = [], 0
        for count in counts:
            if count:
                found.append(self.take(slice(start, start + count)))
            start += count
        return found


def elements(structure: Structure, field: str, reader: str) -> Rows:
    """The elements behind a field of one side.

    Args:
        structure: what an adapter read.
        field: [N, C] rows ("x" or another tap): `batch` [N] (absent: one scene), `importance` [N] and `pos` [N, D] go
            with them. Or a map [B, C, H, W] ("backbone_0"): one row a cell, H W of them a scene in row-major order. Or
            a vector a sample [B, C] beside elements (`image_id` [B]): the samples are one scene's elements then.
        reader: name of the distiller, for errors.

    Raises:
        DataError: a field of another shape, fields of different lengths, a batch vector that is not ascending.
    """
    value = structure[field]
    if isinstance(value, Tensor) and value.dim() == 4:
        return _cells(value)
    if not isinstance(value, Tensor) or value.dim() != 2:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise DataError(f"{reader}: {field} has shape {shape}; expected rows [N, C] or a map [B, C, H, W].")
    batch, importance, pos = (structure.get(name) for name in ("batch", "importance", "pos"))
    if of_samples(structure, value):
        batch = importance = pos = None
    if batch is None:
        batch = torch.zeros(value.size(0), dtype=torch.long, device=value.device)
    for name, other in (("batch", batch), ("importance", importance), ("pos", pos)):
        if other is not None and other.shape[:1] != value.shape[:1]:
            raise DataError(f"{reader}: {field} has {value.size(0)} rows but {name} has shape {tuple(other.shape)}.")
    if bool((batch[1:] < batch[:-1]).any()):
        raise DataError(f"{reader}: batch must be ascending, the rows of a scene together.")
    return Rows(value, batch.long(), importance, pos)


def paired_elements(student: Structure, teacher: Structure, field: str, reader: str) -> tuple[Rows, Rows]:
    """The elements of both sides, row by row the same ones, without those that `student.mask` [N] shuts out.

    Of a map, without the cells that a `mask_map` does (see `structkd.distillers.grids.visible_cells`).

    Raises:
        DataError: as `elements`; sides of different size, or with different `n_id` (two voxelisations, other images).
    """
    ours, theirs = elements(student, field, reader), elements(teacher, field, reader)
    shapes = [(side[field].shape[0], *side[field].shape[2:]) for side in (student, teacher)]
    if shapes[0] != shapes[1]:
        what = "[B, H, W]" if len(shapes[0]) == 3 else "[N]"
        raise DataError(
            f"{reader}: {field} is of size {list(shapes[0])} on the student's side and {list(shapes[1])} on the "
            f"teacher's, as {what}; expected the same elements on both (of different grids compare the maps, which are "
            "resized, instead of rows)."
        )
    f_s = student[field]
    what = "maps" if f_s.dim() == 4 else "rows"
    check_same_samples(student, teacher, f_s.size(0), reader, f"their {what} of {field}")
    if f_s.dim() == 4:
        cells = visible_cells(student, teacher, f_s, reader)
        mask = None if cells is None else cells.flatten()
    else:
        mask = None if of_samples(student, f_s) else student.get("mask")
    if mask is None or bool(mask.all()):
        return ours, theirs
    return ours.take(mask), theirs.take(mask)


def _cells(grid: Tensor) -> Rows:
    scenes, _, height, width = grid.shape
    rows = grid.permute(0, 2, 3, 1).reshape(-1, grid.size(1))
    batch = torch.arange(scenes, device=grid.device).repeat_interleave(height * width)
    cell = torch.arange(height * width, device=grid.device)
    pos = torch.stack([cell.div(max(width, 1), rounding_mode="floor"), cell % max(width, 1)], 1)
    return Rows(rows, batch, None, pos.to(grid.dtype).repeat(scenes, 1))
