"""CC: the samples of a batch correlate for the student as they do for the teacher."""

from __future__ import annotations

from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, one_of, positive
from structkd.distillers.connectors import Connector
from structkd.distillers.features.samples import paired_samples
from structkd.distillers.rows import distilled_pair
from structkd.errors import ConfigError
from structkd.losses.similarity import consecutive_product, correlation_congruence
from structkd.structure import Structure


class CC(Distiller):
    r"""Correlation congruence.

    Peng et al., "Correlation Congruence for Knowledge Distillation", ICCV 2019:

    .. math:: L = \frac{1}{B^2} \| K(f_s) - K(f_t) \|_F^2, \qquad
              K[i, j] \approx \exp(-\gamma \| \hat f_i - \hat f_j \|^2)

    with features of length 1; see `structkd.losses.correlation_congruence`.

    Args:
        field: a vector a sample [B, C], or a map [B, C, H, W], whose mean over cells is taken.
        variant: "paper", or "repdistiller": what the common code (RepDistiller) trains under this name, the product of
            the errors of samples that follow each other, in a space of `channels` that both sides are mapped to
            (`structkd.losses.consecutive_product`; weight .02 there).
        kernel, gamma, order: "polynomial" (the series up to the power `order`, as the paper has it) or "gaussian", and
            its width. Of "paper".
        student_channels, teacher_channels, channels: C of either side and of the common space; of "repdistiller", which
            needs the first two.

    Reads `field` of both sides, of any number of channels. Returns `correlation`, zero when the sides are equal
    ("paper": up to a rotation, and a scale of each sample; "repdistiller": when their images are). Nothing is learned
    beside the student in "paper".

    Differences: the common code is not the paper's loss, and its two learned maps may shrink the errors by themselves;
    it is here for tables that were made with it.
    """

    def __init__(
        self,
        field: str = "embedding",
        variant: str = "paper",
        kernel: str = "polynomial",
        gamma: float = 0.4,
        order: int = 2,
        student_channels: int | None = None,
        teacher_channels: int | None = None,
        channels: int = 128,
    ) -> None:
        super().__init__()
        one_of("CC", "variant", variant, ("paper", "repdistiller"))
        one_of("CC", "kernel", kernel, ("polynomial", "gaussian"))
        positive("CC", gamma=gamma)
        not_negative("CC", order=order)
        self.field, self.reads, self.variant = field, frozenset({field}), variant
        self.kernel, self.gamma, self.order = kernel, gamma, order
        if variant == "repdistiller":
            if student_channels is None or teacher_channels is None:
                raise ConfigError("CC(variant='repdistiller') needs student_channels and teacher_channels.")
            self.embed_student = Connector(student_channels, channels)
            self.embed_teacher = Connector(teacher_channels, channels, side="teacher")

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        f_s, f_t = paired_samples(*distilled_pair(student, teacher), self.field, "CC")
        if self.variant == "repdistiller":
            return {"correlation": consecutive_product(self.embed_student(f_s), self.embed_teacher(f_t))}
        return {"correlation": correlation_congruence(f_s, f_t, self.kernel, self.gamma, self.order)}
