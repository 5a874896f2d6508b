"""Distiller: compares a student's Structure with a teacher's and names the differences as losses."""

from __future__ import annotations

from torch import Tensor, nn

from structkd.structure import Structure


class Distiller(nn.Module):
    """Base of every distiller.

    A distiller owns whatever it learns beside the student (projectors, codebooks, edge layers); none of
    it reaches the exported student. Gradients flow to the student only: the teacher side is detached here,
    in `__call__`, and nowhere else.

    Class attributes:
        reads: fields needed of both sides.
        reads_student: fields needed of the student only.
        reads_teacher: fields needed of the teacher only, before `prepare`.
    """

    reads: frozenset[str] = frozenset({"logits"})
    reads_student: frozenset[str] = frozenset()
    reads_teacher: frozenset[str] = frozenset()

    def prepare(self, teacher: Structure) -> Structure:
        """Add what can be computed once from the whole teacher structure (idempotent).

        Called once before training with the teacher's outputs over everything observed. Node-level fields
        that it adds are cut into mini-batches by row like any other; `forward` must also accept a teacher
        that was never prepared when it carries the relations itself.
        """
        return teacher

    def set_progress(self, epoch: int, max_epochs: int) -> None:
        """Tell the distiller where training stands (0-based epoch); schedules hang on this."""

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        """Named scalar losses."""
        raise NotImplementedError

    def __call__(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        name = type(self).__name__
        student.require(self.reads | self.reads_student, name, "student")
        teacher.require(self.reads | self.reads_teacher, name, "teacher")
        return super().__call__(student, teacher.detach())
