"""GLNN: a graph-free student learns a GNN's soft labels."""

from __future__ import annotations

from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import positive
from structkd.distillers.rows import distilled_rows
from structkd.losses.logits import kl_divergence
from structkd.structure import Structure


class GLNN(Distiller):
    r"""Matches the student's class distribution to the teacher's, node by node.

    Zhang et al., "Graph-less Neural Networks: Teaching Old MLPs New Tricks via Distillation", ICLR 2022.

    .. math:: L_{soft} = \frac{1}{|V|} \sum_{i \in V} KL(softmax(z_t[i] / \tau) \,\|\, softmax(z_s[i] / \tau))

    over the rows V that `student.mask` lets through (all without a mask). Both sides stay in log space.

    Args:
        tau: temperature of both sides; 1 in the authors' code. The loss is not multiplied by tau^2.

    Reads `logits` [N, K] of both sides. Returns `soft_label`, zero when the student's distribution equals the
    teacher's.

    Differences: the authors make two optimiser steps an epoch, one for the labels (weight lambda, 0 by default, so
    that it only applies weight decay and moves BatchNorm statistics) and one for this loss (weight 1 - lambda); here
    every loss is added before one backward pass, and the weights are the task's. Their epoch drops up to one batch of
    random nodes; ours visits every node.
    """

    def __init__(self, tau: float = 1.0) -> None:
        super().__init__()
        positive("GLNN", tau=tau)
        self.tau = tau

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        z_s, z_t = distilled_rows(student, student.logits, teacher.logits)
        return {"soft_label": kl_divergence(z_s, z_t, self.tau)}
