"""SparseKD: the teacher's scores where there are objects, weighted by how sure it is of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, positive
from structkd.distillers.grids import resized
from structkd.distillers.points.objects import (
    TARGETS,
    bounds_of,
    check_range,
    object_cells,
    paired_boxes,
    paired_logits,
)
from structkd.losses.samples import sample_mean
from structkd.structure import Structure


class SparseKD(Distiller):
    r"""Pivotal-position logit distillation and regression imitation at object centres.

    Yang et al., "Towards Efficient 3D Object Detection with Knowledge Distillation", NeurIPS 2022; formulas from the
    authors' code (github.com/CVMI-Lab/SparseKD).

    .. math::
        L = \frac{1}{B} \sum_b \Big( w_{score} \frac{\sum_i m_i \sum_k (p_s[i, k] - p_t[i, k])^2}{\sum_i m_i}
          + \frac{w_{box}}{|O_b|} \sum_{o \in O_b} \| d_s[o] - d_t[o] \|_1 \Big), \qquad
        m_i = g_i \max_k p_t[i, k]

    over the cells i of scene b; p are scores after the sigmoid, g is 1 at the centres of the labelled objects O_b and
    falls off as a Gaussian, d are encoded boxes at the cells of the centres.

    Args:
        point_range: x0, y0, z0, x1, y1, z1 in metres that the maps cover; None asks the student's `detection`.
        score_weight: published 15 for voxel-based students, 7 for coarser pillars.
        box_weight: published .2, 0 for pillars; 0 leaves the term out and with it what it reads.
        rank: only this many cells of a scene, where the teacher's scores are highest, keep their weight m; None: all.

    Reads `logits` [B, A, K, H, W] of both sides, the teacher's scores resized to the student's grid where they differ,
    `box_map` [B, A, D, H, W] of both, on one grid, and the student's `boxes`, `labels` and `boxes_batch`. Returns
    `score` and `box`, zero when the sides are equal. Scenes without objects do not count.

    Differences: the authors divide the sums of a whole batch; ours are means over scenes, so that a scene's weight does
    not depend on the others. Their heads have one box a cell; with A anchors the sums over classes run over anchors
    too, and the box compared is that of the anchor which the teacher takes for the object's class. The paper's label
    distillation is `LabelKD`, its initialisation from the teacher `structkd.models.narrow_`.
    """

    def __init__(
        self,
        point_range: Sequence[float] | None = None,
        score_weight: float = 15.0,
        box_weight: float = 0.2,
        rank: int | None = None,
    ) -> None:
        super().__init__()
        not_negative("SparseKD", score_weight=score_weight, box_weight=box_weight)
        if rank is not None:
            positive("SparseKD", rank=rank)
        self.bounds = check_range("SparseKD", point_range)
        self.score_weight, self.box_weight, self.rank = score_weight, box_weight, rank
        self.reads = frozenset({"logits", "box_map"} if box_weight else {"logits"})
        self.reads_student = TARGETS if self.bounds is not None else TARGETS | {"detection"}

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        z_s, z_t = paired_logits(student, teacher, "SparseKD")
        shape = (z_s.size(3), z_s.size(4))
        p_t = resized(z_t.sigmoid(), shape)
        objects = object_cells(student, bounds_of(student, self.bounds, "SparseKD"), shape)
        losses = {}
        if self.score_weight:
            confidence = p_t.amax((1, 2))
            mask = confidence * objects.heat(z_s.size(0), shape)
            if self.rank is not None:
                mask = mask * highest(confidence, self.rank)
            losses["score"] = self.score_weight * pivotal_loss(z_s.sigmoid(), p_t, mask)
        if self.box_weight:
            scene, label, row, column, _ = objects
            anchor = p_t[scene, :, label, row, column].argmax(1)
            d_s, d_t = paired_boxes(student, teacher, "SparseKD", (scene, anchor, row, column))
            losses["box"] = self.box_weight * sample_mean((d_s - d_t).abs().sum(1), scene)
        return losses


def pivotal_loss(p_s: Tensor, p_t: Tensor, mask: Tensor) -> Tensor:
    r"""Squared error of scores, summed over anchors and classes and averaged over cells with weights.

    .. math:: L = \frac{1}{B} \sum_b \sum_i m_i \sum_k (p_s[i, k] - p_t[i, k])^2 \Big/ \sum_i m_i

    Args:
        p_s, p_t: [B, A, K, H, W] scores from 0 to 1.
        mask: [B, H, W] weights m, not negative; scenes of weight 0 do not count in B.

    Returns:
        A scalar; zero when the sides are equal or all weights are 0.
    """
    error = (p_s - p_t).square().sum((1, 2))
    total = mask.sum((1, 2))
    filled = total > 0
    rows = (mask * error).sum((1, 2)) / torch.where(filled, total, 1)
    return rows.sum() / filled.sum().clamp(min=1)


def highest(confidence: Tensor, count: int) -> Tensor:
    """[B, H, W] of 0 and 1: the `count` cells of each scene with the highest `confidence` [B, H, W]."""
    flat = confidence.flatten(1)
    best = flat.topk(min(count, flat.size(1)), dim=1).indices
    return torch.zeros_like(flat).scatter_(1, best, 1).view_as(confidence)
