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


def check_same_samples(student: Structure, teacher: Structure, samples: int, reader: str, what: str) -> None:
    """Raise a `DataError` where both sides have an id for each of `samples`, and not the same ones in one order.

    Other ids (of the elements of a scene) and sides without any are left to their shapes.
    On CUDA the comparison waits for the device: the price of not learning from other images without a word.
    """
    ours, theirs = sample_ids(student), sample_ids(teacher)
    if ours is None or theirs is None or not ours.shape == theirs.shape == (samples,) or bool((ours == theirs).all()):
        return
    first = int((ours != theirs).nonzero()[0])
    raise DataError(
        f"{reader}: n_id of student and teacher differ, so {what} are of other samples: the first difference is "
        f"{int(ours[first])} and {int(theirs[first])} at place {first}."
    )
