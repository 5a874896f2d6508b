"""LLP: a link predictor without links learns how its teacher ranks the candidates around each node."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, one_of, positive
from structkd.distillers.rows import distilled_rows
from structkd.errors import ConfigError, DataError
from structkd.losses.ranking import context_distribution, context_ranking
from structkd.ops.csr import CSR
from structkd.ops.walks import random_walk
from structkd.structure import Structure


class LLP(Distiller):
    r"""Matches the scores of each anchor's candidate links as a distribution and as a ranking.

    Guo et al., "Linkless Link Prediction via Relational Distillation", ICML 2023.

    .. math::
        L = \frac{w_{distribution}}{A} \sum_a KL(softmax(r_t[a] / \tau) \| softmax(r_s[a] / \tau))
          + \frac{w_{ranking}}{A P} \sum_a \sum_{k < l} \max(0, \delta - \rho_{kl} (r_s[a, k] - r_s[a, l]))

    where r[a] are the scores of anchor a's L candidates, P = L (L - 1) / 2, and rho is 1 or -1 where the teacher's
    scores differ by more than the margin delta in that direction; other pairs add nothing.

    **What the Structures hold.** Their elements are candidate links, not nodes: `logits` [P] (or [P, 1]) is one score
    before the sigmoid per candidate, and the student's `batch` [P] names the anchor of each. Every anchor has the same
    number of candidates, in the same order on both sides; rows may be in any order. So any predictor will do, an inner
    product or an MLP (`structkd.models.LinkModel`): draw candidates with `sample_context`, hand teacher and student
    the same pairs (`GraphAdapter(inputs=("x", "pairs"))` on a `Data` with `pairs` and `batch`), compare what they say.
    Labelled pairs may share the pass with `mask` False; `structkd.datasets.LinkBatches(context=...)` does all this.

    Args:
        tau: temperature of the distributions.
        margin: delta, in units of the scores compared.
        scores: what is compared, "probability" (the sigmoid of the logits, as published; the softmax over numbers
            between 0 and 1 is nearly flat, and a lower `tau` sharpens it) or "logit".
        distribution_weight, ranking_weight: weight of each term; 0 leaves it out. The authors search .001 to 1000.

    Reads `logits` of both sides and the student's `batch`. Returns `distribution` and `ranking`, both zero when the
    sides are equal. The loss on true links is the task's.

    Differences: in the authors' ranking term pairs that the teacher does not tell apart add the constant delta (no
    gradient), and all pairs of a batch of anchors are held at once; here a few anchors' at a time.
    """

    def __init__(
        self,
        tau: float = 1.0,
        margin: float = 0.1,
        scores: str = "probability",
        distribution_weight: float = 1.0,
        ranking_weight: float = 1.0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        positive(name, tau=tau)
        one_of(name, "scores", scores, ("probability", "logit"))
        not_negative(name, margin=margin, distribution_weight=distribution_weight, ranking_weight=ranking_weight)
        self.tau, self.margin, self.scores = tau, margin, scores
        self.distribution_weight, self.ranking_weight = distribution_weight, ranking_weight
        self.reads_student = frozenset({"batch"})

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        z_s, z_t, anchor = distilled_rows(student, student.logits, teacher.logits, student.batch)
        r_s, r_t = by_anchor(anchor, self.student_scores(z_s), self.teacher_scores(z_t))
        losses = {}
        if self.distribution_weight:
            losses["distribution"] = self.distribution_weight * context_distribution(r_s, r_t, self.tau)
        if self.ranking_weight:
            losses["ranking"] = self.ranking_weight * context_ranking(r_s, r_t, self.margin)
        return losses

    def student_scores(self, logits: Tensor) -> Tensor:
        """What is compared of the student, from its logits."""
        return logits.sigmoid() if self.scores == "probability" else logits

    def teacher_scores(self, logits: Tensor) -> Tensor:
        """What is compared of the teacher, from its logits."""
        return self.student_scores(logits)


def by_anchor(anchor: Tensor, *scores: Tensor) -> tuple[Tensor, ...]:
    """Scores [P] (or [P, 1]) of candidates as [A, L], one row an anchor.

    Raises:
        DataError: not one score a candidate, or anchors with different numbers of candidates.
    """
    for values in scores:
        if values.numel() != anchor.numel():
            raise DataError(
                f"Link scores have shape {tuple(values.shape)} for {anchor.numel()} candidates; expected one each."
            )
    counts = torch.bincount(anchor)
    counts = counts[counts > 0]
    if counts.numel() and bool((counts != counts[0]).any()):
        raise DataError(
            f"Anchors have {int(counts.min())} to {int(counts.max())} candidates; expected as many for each "
            "(see sample_context)."
        )
    order = anchor.argsort(stable=True)
    return tuple(values.reshape(-1)[order].reshape(counts.numel(), -1 if counts.numel() else 0) for values in scores)


def sample_context(
    csr: CSR,
    seeds: Tensor,
    hops: int = 2,
    rw_step: int = 3,
    ns_rate: int = 1,
    method: str = "nb",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Candidates for each seed: nodes near it by random walks, and uniform ones.

    Args:
        csr: the links that may be seen, undirected (both directions), e.g. `csr_of(edge_index, num_nodes)`.
        seeds: [A] int64 anchors.
        hops: steps of a walk.
        rw_step: walks from each seed; together they give `rw_step * hops` near nodes, repeats and the seed itself
            (a walk may return) included.
        ns_rate: uniform nodes for each near one.
        method: "nb", `rw_step` walks of `hops` steps, or "rw", one walk of `rw_step * hops` steps.
        generator: source of randomness, on the device of `csr`. Default: torch's global one.

    Returns:
        (pairs [2, A * L], anchor [A * L]) with L = rw_step * hops * (1 + ns_rate): `pairs[0]` is the seed, `pairs[1]`
        the candidate, and `anchor` the seed's position in `seeds`, which becomes a Structure's `batch`. The published
        defaults give L = 12; costs grow with A L^2.
    """
    if method not in ("nb", "rw"):
        raise ConfigError(f"sample_context(method={method!r}) is not known; expected 'nb' or 'rw'.")
    walks, length = (rw_step, hops) if method == "nb" else (1, rw_step * hops)
    near = random_walk(csr, seeds.repeat_interleave(walks), length, generator)[:, 1:]
    near = near.reshape(seeds.numel(), rw_step * hops)
    shape = (seeds.numel(), rw_step * hops * ns_rate)
    anywhere = torch.randint(max(csr.shape[0], 1), shape, device=csr.device, generator=generator)
    candidates = torch.cat([near, anywhere], dim=1)
    anchor = torch.arange(seeds.numel(), device=csr.device).repeat_interleave(candidates.size(1))
    return torch.stack([seeds[anchor], candidates.flatten()]), anchor
