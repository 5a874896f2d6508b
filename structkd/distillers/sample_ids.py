"""Which samples a Structure is of."""

from __future__ import annotations

from torch import Tensor

from structkd.errors import DataError
from structkd.structure import Structure


def sample_ids(structure: Structure) -> Tensor | None:
    """Global ids of the samples: `image_id` [B] where `n_id` are those of their elements, else `n_id`; None without."""
    ids = structure.get("image_id")
    return structure.get("n_id") if ids is None else ids


def of_samples(structure: Structure, value: Tensor) -> bool:
    """Whether the rows of `value` are samples, in a Structure whose `n_id`, `batch` and `mask` are of elements."""
    ids, batch = structure.get("image_id"), structure.get("batch")
    if ids is None or ids.shape != value.shape[:1]:
        return False
    return batch is None or batch.shape != ids.shape


def check_same_samples(student: Structure, teacher: Structure, size: int, reader: str, what: str) -> None:
    """Raise a `DataError` where both sides say whose `size` rows (or maps) they hold, and it is not one list of ids.

    Sides that say nothing, or whose ids are of something else (the voxels beside a map), are left to their shapes.
    On CUDA the comparison waits for the device, the price of not learning from other images without a word; not where
    both sides took their ids over from one batch.
    """
    ours, theirs = _ids_of(student, size), _ids_of(teacher, size)
    if ours is None or theirs is None or ours is theirs or bool((ours == theirs).all()):
        return
    first = int((ours != theirs).nonzero()[0])
    raise DataError(
        f"{reader}: n_id of student and teacher differ, so {what} are not of the same samples or elements: the first "
        f"difference is {int(ours[first])} and {int(theirs[first])} at place {first}. Give both sides the same batch "
        "(and the same voxelisation)."
    )


def _ids_of(structure: Structure, size: int) -> Tensor | None:
    """The ids of what there are `size` of: of the samples, else of the elements; None where neither are as many."""
    found = (structure.get(name) for name in ("image_id", "n_id"))
    return next((ids for ids in found if ids is not None and ids.shape == (size,)), None)
