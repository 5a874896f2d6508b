"""KRD: a student learns from the neighbours whose teacher labels are reliable."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import one_of, positive
from structkd.distillers.graphs.neighbors import entropy, neighbor_edges, own_divergence, with_edge_count
from structkd.distillers.rows import distilled_rows
from structkd.errors import ConfigError, WiringError
from structkd.losses.smoothness import edge_kl
from structkd.structure import Structure

BINS = 50


class KRD(Distiller):
    r"""Own soft labels, and those of neighbours drawn by how reliable the teacher is on them.

    Wu et al., "Quantifying the Knowledge in GNNs for Reliable Distillation into MLPs", ICML 2023.

    .. math::
        L = \frac{1}{|S| + N} \Big( \sum_{(j \to i) \in S} KL(p_t[j] \| p_s[i]) + \sum_i KL(p_t[i] \| p_s[i]) \Big),
        \qquad (j \to i) \in S \text{ with probability } 1 - \rho_j^a

    rho_j is how much the entropy of the teacher's label of node j moves under noise on the features, divided by the
    largest over all nodes: 0 is a label that stays, 1 the least reliable one. The power a follows the student: after
    each epoch, 1 - x^a is fitted to the share of nodes of instability x on which student and teacher agree (50 bins,
    shares stretched to 0..1), and a moves there with momentum. Before `start_epoch` every edge is in S.

    Args:
        tau: temperature of both sides (.8 to 1.2 in the published settings); no factor tau^2.
        momentum: of the power a; .99, .9 on ogbn-arxiv.
        start_epoch: 0-based epoch from which edges are drawn; 50 for a GCN teacher, 49 for others.
        draws: noise draws that rho is averaged over; 1 is the published code.
        noise: standard deviation of the Gaussian noise, in units of the input features.
        mode: "default", or "reference" to reproduce the published fit (see Differences).

    Reads `logits` [N, C] of both sides and `edge_index` of either (source teaches target). `prepare` fills the
    teacher's `importance` = 1 - rho [N] from its `input` and `replay` (`GraphAdapter(expose_input=True)`); an
    `importance` that is already there is used instead. `set_progress` must be called every epoch. Returns
    `neighbor_label`; equal sides give zero only where neighbours' labels are equal too.

    Buffers: `power` (a), the agreement counts of the running epoch and `epoch`.

    Differences: (1) With several draws, rho is the root mean square of the entropy change; one draw gives the
    published |H(p(X + noise)) - H(p(X))|. The paper states a mean of squares over the noise variance (recalled): the
    division by the largest cancels the variance, and squaring only halves a. (2) The published bin centres are off,
    lower edge + .05 instead of + .01, and bins without nodes enter the fit as if nothing agreed there; both only with
    `mode="reference"`. (3) They compare argmaxes in an evaluation pass after each epoch; ours are the training passes
    of the epoch, so that mini-batches need no extra pass. (4) Theirs loops over nodes and edges in Python; ours draws
    all edges at once, anew in each step.
    """

    power: Tensor
    agreement: Tensor
    epoch: Tensor

    def __init__(
        self,
        tau: float = 1.0,
        momentum: float = 0.99,
        start_epoch: int = 50,
        draws: int = 8,
        noise: float = 1.0,
        mode: str = "default",
    ) -> None:
        super().__init__()
        positive("KRD", tau=tau, draws=draws, noise=noise)
        one_of("KRD", "mode", mode, ("default", "reference"))
        if not 0 <= momentum <= 1:
            raise ConfigError(f"KRD(momentum={momentum}): expected a number from 0 to 1.")
        self.tau, self.momentum, self.start_epoch = tau, momentum, start_epoch
        self.draws, self.noise, self.reference = draws, noise, mode == "reference"
        self.register_buffer("power", torch.tensor(1.0, dtype=torch.float64))
        self.register_buffer("agreement", torch.zeros(2, BINS, dtype=torch.float64))
        self.register_buffer("epoch", torch.tensor(0))

    def prepare(self, teacher: Structure) -> Structure:
        with_edge_count(teacher)
        if "importance" not in teacher.provides:
            teacher["importance"] = 1 - instability(teacher, self.draws, self.noise)
        return teacher

    def set_progress(self, epoch: int, max_epochs: int) -> None:
        if epoch == int(self.epoch):  # a resumed epoch: its counts are in the buffers already
            return
        self.epoch.fill_(epoch)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(self.agreement)
        if epoch >= self.start_epoch:
            fitted = fit_power(self.agreement[0], self.agreement[1], self.reference)
            if fitted is not None:
                self.power.lerp_(fitted.to(self.power), 1 - self.momentum)
        self.agreement.zero_()

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        edge_index, weight = neighbor_edges(student, teacher, "KRD")
        sampling = int(self.epoch) >= self.start_epoch
        if "importance" in teacher.provides:
            rho = (1 - teacher.importance).clamp(0, 1)
            if self.training:
                self._count_agreement(student, teacher, rho)
            if sampling:
                chance = 1 - rho.to(self.power) ** self.power
                weight = weight * torch.bernoulli(chance[edge_index[0]]).to(weight)
        elif sampling:
            raise WiringError(
                "KRD draws edges by the teacher's importance (1 - instability), which this teacher's structure lacks. "
                "Call prepare on the whole teacher structure first, or fill importance [N] with values from 0 to 1."
            )
        own, rows = own_divergence(student, teacher, self.tau)
        labels = torch.softmax(teacher.logits / self.tau, dim=-1)
        total = own + edge_kl(student.logits, labels, edge_index, self.tau, weight)
        return {"neighbor_label": total / (weight.sum() + rows).clamp(min=1)}

    @torch.no_grad()
    def _count_agreement(self, student: Structure, teacher: Structure, rho: Tensor) -> None:
        z_s, z_t, rho = distilled_rows(student, student.logits, teacher.logits, rho)
        bins = (rho * BINS).long().clamp(max=BINS - 1)
        agreed = (z_s.argmax(-1) == z_t.argmax(-1)).to(self.agreement)
        self.agreement[0] += torch.bincount(bins, agreed, BINS)
        self.agreement[1] += torch.bincount(bins, minlength=BINS)


@torch.no_grad()
def instability(teacher: Structure, draws: int = 8, noise: float = 1.0) -> Tensor:
    """How far noise on the features moves the entropy of each label, as a share of the largest move.

    Args:
        teacher: `logits` [N, C], `input` [N, F] (sparse inputs are made dense) and `replay`.
        draws: noise draws; their root mean square is taken.
        noise: standard deviation of the noise, in units of the features.

    Returns:
        [N] from 0 to 1; all zero when nothing moves. Uses torch's global generator. Raises `WiringError` when the
        teacher cannot be run again.
    """
    features, replay = teacher.get("input"), teacher.get("replay")
    if features is None or replay is None:
        raise WiringError(
            "KRD measures a teacher's reliability by running it on noisy features and needs its input and replay "
            f"(an adapter with expose_input=True), or a ready importance; it provides {sorted(teacher.provides)}."
        )
    if features.layout != torch.strided:
        features = features.to_dense()
    clean = entropy(torch.softmax(teacher.logits, dim=-1))
    moved = torch.zeros_like(clean)
    for _ in range(draws):
        noisy = replay(features + noise * torch.randn_like(features)).logits
        moved += (entropy(torch.softmax(noisy, dim=-1)) - clean) ** 2
    moved = (moved / draws).sqrt()
    return moved / moved.max().clamp(min=torch.finfo(moved.dtype).tiny) if moved.numel() else moved


def fit_power(agreed: Tensor, total: Tensor, reference: bool = False) -> Tensor | None:
    """The power a for which 1 - x^a comes closest (least squares) to how often student and teacher agree.

    Args:
        agreed, total: [B] nodes that agree and all nodes, per equal bin of instability x in 0..1.
        reference: the published bin centres and empty bins, see `KRD`.

    Returns:
        a from .01 to 100, to five digits; None where the counts say nothing (fewer than two distinct shares).
    """
    agreed, total = agreed.double(), total.double()
    lower = torch.arange(total.numel(), dtype=total.dtype, device=total.device) / total.numel()
    if reference:
        x, share = lower + 0.05, agreed / (total + 1e-6)
    else:
        filled = total > 0
        x, share = (lower + 0.5 / total.numel())[filled], agreed[filled] / total[filled]
    if share.numel() < 2 or bool(share.max() == share.min()):
        return None
    share = (share - share.min()) / (share.max() - share.min())
    low, high = -2.0, 2.0
    for _ in range(4):  # each pass searches between the neighbours of the last one's best
        powers = torch.logspace(low, high, 81, dtype=x.dtype, device=x.device)
        error = (1 - x ** powers[:, None] - share).square().sum(1)
        best, step = int(error.argmin()), (high - low) / 80
        low, high = max(low + (best - 1) * step, -2.0), min(low + (best + 1) * step, 2.0)
    return powers[best]
