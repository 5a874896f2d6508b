"""One feature vector a sample, of two sides."""

from __future__ import annotations

from torch import Tensor

from structkd.distillers.grids import visible_cells
from structkd.distillers.sample_ids import check_same_samples
from structkd.errors import DataError
from structkd.structure import Structure


def paired_samples(
    student: Structure, teacher: Structure, field: str, reader: str, pooled: bool = True
) -> tuple[Tensor, Tensor]:
    """The field of both sides as vectors [B, C_s] and [B, C_t] of the same samples.

    Args:
        student, teacher: what adapters read.
        field: [B, C] vectors, or maps [B, C, H, W].
        reader: name of the distiller, for errors.
        pooled: a map's vector is the mean over its cells, those that count by `mask_map` (zero without any); else
            fields are given as they are, of any shape [B, ...].

    Raises:
        DataError: another shape, different samples on the two sides (numbers, or `n_id`), rows that are the elements of
            samples and not samples (several with one number in `batch`), a `mask_map` where maps are not pooled.
    """
    f_s, f_t = student[field], teacher[field]
    for side, f in (("student", f_s), ("teacher", f_t)):
        if not isinstance(f, Tensor) or f.dim() < 2 or (pooled and f.dim() not in (2, 4)):
            shape = tuple(f.shape) if isinstance(f, Tensor) else type(f).__name__
            raise DataError(
                f"{reader}: {field} of the {side} has shape {shape}; expected a vector a sample [B, C] or maps "
                "[B, C, H, W]."
            )
    batch = student.get("batch")
    if f_s.dim() == 2 and batch is not None and batch.size(0) == f_s.size(0) and batch.unique().numel() < len(batch):
        raise DataError(
            f"{reader} compares samples, but {field} [{f_s.size(0)}, {f_s.size(1)}] holds the elements of samples "
            "(several rows with one batch number); expected a map [B, C, H, W] or rows [B, C]."
        )
    if f_s.size(0) != f_t.size(0):
        raise DataError(f"{reader}: {field} is of {f_s.size(0)} samples (student) and {f_t.size(0)} (teacher).")
    check_same_samples(student, teacher, f_s.size(0), reader, f"their rows of {field}")
    seen = [visible_cells(student, teacher, f, reader, not pooled) if f.dim() > 3 else None for f in (f_s, f_t)]
    return (_pooled(f_s, seen[0]), _pooled(f_t, seen[1])) if pooled else (f_s, f_t)


def _pooled(f: Tensor, seen: Tensor | None) -> Tensor:
    if f.dim() == 2:
        return f
    if seen is None:
        return f.flatten(2).mean(2)
    return f.masked_fill(~seen[:, None], 0).flatten(2).sum(2) / seen.flatten(1).sum(1, keepdim=True).clamp(min=1)
