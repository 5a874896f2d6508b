"""m2mKD: a module of a student learns to do inside a meta model what a module of the teacher does there."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, one_of, positive
from structkd.errors import ConfigError, DataError
from structkd.losses.logits import kl_divergence
from structkd.structure import Structure


class M2mKD(Distiller):
    r"""Module-to-module knowledge distillation, the loss of one pair of modules.

    Lo et al., "m2mKD: Module-to-Module Knowledge Distillation for Modular Transformers", TMLR 2024 (arXiv:2402.16918).
    Both sides are `Hybrid`s of one meta model, with the teacher's module and with the student's, so their logits differ
    only by what the modules do:

    .. math:: L = w \frac{\tau^2}{B} \sum_b KL(softmax(z_t[b] / \tau) \,\|\, softmax(z_s[b] / \tau))
              + v \frac{\| h_s - h_t \|^2}{\| h_t \|^2}

    with the logits z and what leaves the modules, h. The published objective is (1 - a) times the cross entropy plus a
    times the first term, a = .5: `objective_weight=0.5` of the stage and `weight=0.5` of the distiller.

    Args:
        tau: temperature of both sides.
        kind: "soft", or "hard": cross entropy with the class that the teacher's hybrid finds most likely.
        mode: "default", or "reference": the soft term is divided by B K instead of B, as in the authors' code.
        logit_weight: w; 0 needs no logits (`HybridAdapter(suffix=False)`).
        boundary_weight: v; above 0 reads `boundary` of both sides, which the last pair does not have.

    Reads `logits` [B, K] and, on request, `boundary` [B, N, C] or [B, C, h, w]. Returns `soft_label` (or `hard_label`)
    and `boundary`; both are zero when the sides are equal, except for the hard label's.

    Differences: the authors' code divides the divergence by the number of classes too (it is DeiT's, where the same
    happens), so with 1,000 classes the soft labels count for a thousandth of what the paper's formula says, and the
    labels alone train. The default follows the formula. The boundary term is ours: with w = 0 it saves the pass through
    the suffix and back.
    """

    def __init__(
        self,
        tau: float = 1.0,
        kind: str = "soft",
        mode: str = "default",
        logit_weight: float = 1.0,
        boundary_weight: float = 0.0,
    ) -> None:
        super().__init__()
        positive("M2mKD", tau=tau)
        not_negative("M2mKD", logit_weight=logit_weight, boundary_weight=boundary_weight)
        one_of("M2mKD", "kind", kind, ("soft", "hard"))
        one_of("M2mKD", "mode", mode, ("default", "reference"))
        if logit_weight == boundary_weight == 0:
            raise ConfigError("M2mKD(logit_weight=0, boundary_weight=0) compares nothing.")
        self.tau, self.kind, self.mode = tau, kind, mode
        self.logit_weight, self.boundary_weight = logit_weight, boundary_weight
        weights = {"logits": logit_weight, "boundary": boundary_weight}
        self.reads = frozenset(name for name, weight in weights.items() if weight > 0)

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        losses = {}
        if self.logit_weight:
            losses[f"{self.kind}_label"] = self.logit_weight * self._label(student.logits, teacher.logits)
        if self.boundary_weight:
            h_s, h_t = student.boundary, teacher.boundary
            if h_s.shape != h_t.shape:
                raise DataError(
                    f"M2mKD: the student's module gives {tuple(h_s.shape)} after its stitch, the teacher's "
                    f"{tuple(h_t.shape)}; expected one shape."
                )
            size = h_t.square().sum().clamp(min=1e-12)
            losses["boundary"] = self.boundary_weight * (h_s - h_t).square().sum() / size
        return losses

    def _label(self, z_s: Tensor, z_t: Tensor) -> Tensor:
        if self.kind == "hard":
            return F.cross_entropy(z_s, z_t.argmax(1), reduction="sum") / max(z_s.size(0), 1)
        loss = kl_divergence(z_s, z_t, self.tau, scale_tau2=True)
        return loss / z_s.size(1) if self.mode == "reference" else loss
