"""The same features of two sides, whatever they are features of."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from structkd.distillers.elements import elements, paired_elements
from structkd.distillers.grids import resized, visible_cells
from structkd.distillers.sample_ids import check_same_samples
from structkd.errors import DataError
from structkd.structure import Structure


class FeaturePair(NamedTuple):
    """Features at one place of two networks.

    Attributes:
        student, teacher: [B, C_s, H, W] and [B, C_t, H, W] maps, or [N, C_s] and [N, C_t] rows.
        batch: [N] int64 sample of each row, ascending; None for maps.
    """

    student: Tensor
    teacher: Tensor
    batch: Tensor | None


def paired_features(
    student: Structure, teacher: Structure, field: str, reader: str, maps_only: bool = False
) -> FeaturePair:
    """The field of both sides, ready to be compared.

    Maps of different size are compared on the student's grid; of a head's scores [B, A, K, H, W] anchors and classes
    make A K channels. Where a `mask_map` [B, h, w] of either side shuts cells out (it is read at the nearest one), what
    is left of maps are rows. Of rows those that `student.mask` [N] shuts out are left away; `batch` [N] (absent: one
    sample) is the student's.

    Args:
        maps_only: the reader needs whole maps, so a mask of their cells is an error.

    Raises:
        DataError: different kinds or numbers of features, rows of different elements or maps of different samples
            (`n_id`), a batch vector that is not ascending, a mask of other images, or one for whole maps.
    """
    f_s, f_t = (_flat(side[field]) for side in (student, teacher))
    if not all(isinstance(f, Tensor) and f.dim() == 4 for f in (f_s, f_t)):
        ours, theirs = paired_elements(student, teacher, field, reader)
        return FeaturePair(ours.x, theirs.x, ours.batch)
    if f_s.size(0) != f_t.size(0):
        raise DataError(f"{reader}: {field} is of {f_s.size(0)} samples (student) and {f_t.size(0)} (teacher).")
    check_same_samples(student, teacher, f_s.size(0), reader, f"their maps {field}")
    f_t = resized(f_t, f_s.shape[-2:])
    seen = visible_cells(student, teacher, f_s, reader, whole=maps_only)
    if seen is None:
        return FeaturePair(f_s, f_t, None)
    ours, theirs = (elements(Structure(**{field: f}), field, reader).take(seen.flatten()) for f in (f_s, f_t))
    return FeaturePair(ours.x, theirs.x, ours.batch)


def _flat(field: Any) -> Any:
    return field.flatten(1, 2) if isinstance(field, Tensor) and field.dim() == 5 else field
