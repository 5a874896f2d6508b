"""TINED: a student smooths as much as its teacher, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, one_of, positive
from structkd.distillers.rows import distilled_edges, distilled_rows
from structkd.errors import ConfigError
from structkd.losses.dirichlet import dirichlet_energy
from structkd.losses.logits import kl_divergence
from structkd.structure import Structure


class TINED(Distiller):
    r"""Soft labels, and the Dirichlet energy ratio of each layer.

    Zhou et al., "TINED: GNNs-to-MLPs by Teacher Injection and Dirichlet Energy Distillation", ICML 2025. The student
    that starts from the teacher's weights is a model: `structkd.models.TINEDStudent` and `inject_`.

    .. math::
        L = w_{soft} KL(p_t \| p_s) + w_{energy} \sum_l (R_s^l - R_t^l)^2, \qquad
        R^l = \log E(X^l_{out}) - \log E(X^l_{in}), \qquad
        E(X) = \frac{1}{N} \sum_{(u, v)} \| \hat x_u - \hat x_v \|^2

    with rows divided by their lengths. A negative R means that the layer smooths, as propagation does; a positive one
    that it sharpens, as a transformation may.

    Args:
        pairs: for each layer compared, the names of two fields: what goes into it and what comes out, [N, C] each
            (widths may differ). Adapters of both sides provide them by these names, e.g. `[("in0", "out0"), ...]`
            with the student's `taps={"in0": "before.0", "out0": "propagations.0"}` and the teacher's
            `taps={"in0": "convs.0.before", "out0": "convs.0.after"}`.
        domain: compare "log" ratios as above, or the "ratio" exp(R) itself.
        square_root: compare with R halved, i.e. the ratio's square root.
        edge_ratio: share of the edges that a random subset of each step holds; 1 down to 5e-4 (ogbn-products) in the
            published settings. The subset is the same for all layers and both sides.
        tau: temperature of the soft labels.
        soft_weight, energy_weight: weight of each term; 0 leaves it out. Published energy weights run from .05 to 10.
        eps: energies are kept above it, so that a layer whose output collapsed to one point has a finite ratio.

    Reads `logits` [N, K] of both sides, the fields of `pairs` of both sides and `edge_index` of either. Returns
    `soft_label` and `energy_ratio`, both zero when the sides are equal.

    Differences: the authors make a separate optimiser step on the energy term every epoch, with the student in
    training mode; here everything is one backward pass. Where an energy is zero they replace the log ratio by 1;
    ours is the ratio to `eps`. In a mini-batch the energies are those of its edges.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        domain: str = "log",
        square_root: bool = False,
        edge_ratio: float = 1.0,
        tau: float = 1.0,
        soft_weight: float = 1.0,
        energy_weight: float = 1.0,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        one_of("TINED", "domain", domain, ("log", "ratio"))
        positive("TINED", tau=tau, eps=eps)
        not_negative("TINED", soft_weight=soft_weight, energy_weight=energy_weight)
        if not 0 < edge_ratio <= 1:
            raise ConfigError(f"TINED(edge_ratio={edge_ratio}): expected a share above 0 and at most 1.")
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise ConfigError(f"TINED(pairs={pairs!r}): expected at least one (input field, output field).")
        self.pairs = [(str(before), str(after)) for before, after in pairs]
        self.domain, self.power, self.edge_ratio = domain, 0.5 if square_root else 1.0, edge_ratio
        self.tau, self.soft_weight, self.energy_weight, self.eps = tau, soft_weight, energy_weight, eps
        self.reads = frozenset({"logits"}).union(*self.pairs) if energy_weight else frozenset({"logits"})

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        losses = {}
        if self.soft_weight:
            z_s, z_t = distilled_rows(student, student.logits, teacher.logits)
            losses["soft_label"] = self.soft_weight * kl_divergence(z_s, z_t, self.tau)
        if self.energy_weight:
            edge_index, _ = distilled_edges(student, teacher, "TINED")
            if self.edge_ratio < 1:
                edge_index = sample_edges(edge_index, self.edge_ratio)
            gaps = [
                self._ratio(student, pair, edge_index) - self._ratio(teacher, pair, edge_index) for pair in self.pairs
            ]
            losses["energy_ratio"] = self.energy_weight * torch.stack(gaps).square().sum()
        return losses

    def _ratio(self, side: Structure, pair: tuple[str, str], edge_index: Tensor) -> Tensor:
        e_in, e_out = (dirichlet_energy(side[name], edge_index).clamp(min=self.eps) for name in pair)
        ratio = self.power * (e_out.log() - e_in.log())
        return ratio if self.domain == "log" else ratio.exp()


def sample_edges(edge_index: Tensor, share: float) -> Tensor:
    """A random `share` of the edges (at least one of them), without replacement; torch's global generator."""
    count = edge_index.size(1)
    kept = max(1, int(share * count))
    return edge_index[:, torch.randperm(count, device=edge_index.device)[:kept]]
