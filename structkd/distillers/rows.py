"""Which rows and relations of a student may be distilled."""

from __future__ import annotations

from torch import Tensor

from structkd.errors import WiringError
from structkd.structure import Structure


def distilled_rows(student: Structure, *values: Tensor) -> tuple[Tensor, ...]:
    """The rows of node-level tensors that `student.mask` lets through; all of them when there is no mask.

    Where the elements are parts of samples (`batch` has an entry for each entry of `mask`), a tensor of another length
    has a row a sample, which the mask of elements does not touch.
    """
    mask, batch = student.get("mask"), student.get("batch")
    if mask is None or bool(mask.all()):
        return values
    parts = batch is not None and batch.shape == mask.shape
    return tuple(value if parts and value.size(0) != mask.size(0) else value[mask] for value in values)


def distilled_pair(student: Structure, teacher: Structure) -> tuple[Structure, Structure]:
    """Both sides without the samples that `student.mask` shuts out, of every node-level field; relations are left out.

    Where the mask is of the elements beside samples (`image_id` has an entry a sample), it says nothing of samples.
    """
    mask, ids = student.get("mask"), student.get("image_id")
    if mask is None or bool(mask.all()) or (ids is not None and ids.shape != mask.shape):
        return student, teacher
    kept = mask.nonzero().flatten()
    return student.select(kept), teacher.select(kept)


def distilled_edges(student: Structure, teacher: Structure, reader: str) -> tuple[Tensor, Tensor | None]:
    """The relations a loss may visit, and their weights.

    The student's own edges come first: in a mini-batch they are local to it, and `edge_scale` [E] makes a sum
    over them an unbiased mean over all edges. Without `edge_scale` the edges between two rows of `student.mask`
    are kept, because an edge with one end outside would distil that end too.

    Returns:
        (edge_index [2, E], edge_scale [E] or None for a plain mean over the edges).

    Raises:
        WiringError: neither side has an `edge_index`.
    """
    for side in (student, teacher):
        edges = side.get("edge_index")
        if edges is None:
            continue
        scale, mask = side.get("edge_scale"), student.get("mask")
        if scale is None and mask is not None and not bool(mask.all()):
            edges = edges[:, mask[edges[0]] & mask[edges[1]]]
        return edges, scale
    raise WiringError(
        f"{reader} compares along relations and needs edge_index of the student or the teacher; the student provides "
        f"only {', '.join(sorted(student.provides)) or 'nothing'}, the teacher only "
        f"{', '.join(sorted(teacher.provides)) or 'nothing'}."
    )
