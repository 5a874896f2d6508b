"""DIST: predictions that correlate with a stronger teacher's, over classes and over samples."""

from __future__ import annotations

from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, positive
from structkd.distillers.rows import distilled_rows
from structkd.distillers.sample_ids import check_same_samples
from structkd.losses.correlation import correlation_loss
from structkd.ops.precision import accumulator
from structkd.structure import Structure


class DIST(Distiller):
    r"""Relations instead of values: Pearson correlation of the predictions' rows and columns.

    Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022:

    .. math::
        L = T^2 \Big( \beta \frac{1}{B} \sum_b 1 - r(p_s[b, :], p_t[b, :])
          + \gamma \frac{1}{K} \sum_k 1 - r(p_s[:, k], p_t[:, k]) \Big), \qquad p = softmax(z / T)

    Args:
        beta, gamma: weights of the relation between classes (`inter`) and within a class (`intra`); 0 leaves one out.
            1 and 1 by default; common code has 2 and 2 with T = 4 for CIFAR-100.
        tau: temperature T of both sides.

    Reads `logits` [B, K] of both sides. Returns `inter` and `intra`, zero when the sides' probabilities are equal up to
    a shift and a positive factor of each row (`inter`) or each column (`intra`). A row or column that is constant on
    one side costs 1/2 and teaches nothing (`structkd.losses.correlation_loss`), on both sides nothing; so `intra` is 0
    for a single sample.

    Differences: the authors' code adds 1e-8 to the product of two norms, which also mutes classes whose probabilities
    hardly vary in a batch; here a class counts in full unless rounding is all that varies. Their segmentation code has
    no temperature; the factor T^2 is that of the copies of their classification code.
    """

    def __init__(self, beta: float = 1.0, gamma: float = 1.0, tau: float = 1.0) -> None:
        super().__init__()
        positive("DIST", tau=tau)
        not_negative("DIST", beta=beta, gamma=gamma)
        self.beta, self.gamma, self.tau = beta, gamma, tau

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        check_same_samples(student, teacher, len(student.logits), "DIST", "their logits")
        logits = distilled_rows(student, student.logits, teacher.logits)
        p_s, p_t = (z.to(accumulator(z)).div(self.tau).softmax(-1) for z in logits)
        losses = {}
        if self.beta:
            losses["inter"] = self.beta * self.tau**2 * correlation_loss(p_s.t(), p_t.t())
        if self.gamma:
            losses["intra"] = self.gamma * self.tau**2 * correlation_loss(p_s, p_t)
        return losses
