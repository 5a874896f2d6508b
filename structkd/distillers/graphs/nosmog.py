"""NOSMOG: soft labels, similarity structure of the hidden space and robustness to feature noise."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.distillers.adversarial import perturb
from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, positive
from structkd.distillers.rows import distilled_rows
from structkd.errors import WiringError
from structkd.losses.gram import gram_mse
from structkd.losses.logits import kl_divergence
from structkd.models.graphs.linear import Linear
from structkd.structure import Structure


class NOSMOG(Distiller):
    r"""Soft labels, representational similarity and adversarial feature augmentation for a graph-free student.

    Tian et al., "Learning MLPs on Graphs: A Unified View of Effectiveness, Robustness, and Efficiency", ICLR 2023.
    The method's position features are data (`structkd.datasets`): they are concatenated to the student's input.

    .. math::
        L = w_{soft} KL(p_t \| p_s(X)) + w_{sim} \frac{1}{B^2} \| G G^T - M M^T \|_F^2
            + w_{adv} KL(p_t \| p_s(X + \delta))

    G are the teacher's hidden features, M = ReLU(W h_s + b) the student's projected ones, KL is the mean over rows and
    delta is found by projected gradient ascent on the last term, `|delta| <= epsilon` in every coordinate.

    Args:
        student_channels: width of the student's `x`, its last hidden layer before the activation.
        teacher_channels: width of the teacher's `x`, its last hidden layer after the activation.
        tau: temperature of both KL terms.
        soft_weight, similarity_weight, adversarial_weight: weight of each term; 0 leaves the term out and with it
            what it reads. Published similarity weights run from 1e-9 (Amazon) to .9 (PubMed), .1 on Cora and CiteSeer.
        epsilon: half width of the box delta lives in, in units of the input features; .005 to .1 in the published
            settings.
        steps: gradient steps towards the worst delta.

    Reads `logits` of both sides, `x` of both sides (similarity) and the student's `input` and `replay`
    (adversarial; `GraphAdapter(expose_input=True)`). Sparse inputs are made dense for the perturbation. Returns
    `soft_label`, `similarity` and `adversarial`; the first two are zero when the sides are equal (and the projector is
    the identity), the third is not, by construction.

    Differences: the authors also apply the last two terms in a separate pass over the labelled nodes, and read the
    teacher's hidden rows by subgraph id in the inductive setting (wrong nodes); here everything is one backward pass
    and rows match by global id. Their projection ends in dropout; ours does not, so that equal sides give zero. As
    there, the student stays in training mode during the ascent: dropout is drawn anew in each step, and BatchNorm
    statistics see the perturbed batches. In a mini-batch the similarity compares the pairs within it.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        tau: float = 1.0,
        soft_weight: float = 1.0,
        similarity_weight: float = 0.1,
        adversarial_weight: float = 0.1,
        epsilon: float = 0.05,
        steps: int = 5,
    ) -> None:
        super().__init__()
        positive("NOSMOG", tau=tau, epsilon=epsilon)
        not_negative(
            "NOSMOG", soft_weight=soft_weight, similarity_weight=similarity_weight,
            adversarial_weight=adversarial_weight, steps=steps,
        )  # fmt: skip
        self.tau = tau
        self.soft_weight = soft_weight
        self.similarity_weight = similarity_weight
        self.adversarial_weight = adversarial_weight
        self.epsilon = epsilon
        self.steps = steps
        self.reads = frozenset({"logits"})
        if similarity_weight:
            self.reads |= {"x"}
            self.projector = Linear(student_channels, teacher_channels)
        if adversarial_weight:
            self.reads_student = frozenset({"input"})

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        losses = {}
        if self.soft_weight:
            losses["soft_label"] = self.soft_weight * self._label_loss(student, student.logits, teacher)
        if self.similarity_weight:
            h_s, h_t = distilled_rows(student, student.x, teacher.x)
            losses["similarity"] = self.similarity_weight * gram_mse(torch.relu(self.projector(h_s)), h_t)
        if self.adversarial_weight:
            losses["adversarial"] = self.adversarial_weight * self._adversarial(student, teacher)
        return losses

    def _label_loss(self, student: Structure, logits: Tensor, teacher: Structure) -> Tensor:
        z_s, z_t = distilled_rows(student, logits, teacher.logits)
        return kl_divergence(z_s, z_t, self.tau)

    def _adversarial(self, student: Structure, teacher: Structure) -> Tensor:
        replay = student.get("replay")
        if replay is None:
            raise WiringError(
                "NOSMOG perturbs the student's input and needs replay of the student, whose structure holds none. "
                "Use an adapter with expose_input=True."
            )

        def loss(x: Tensor) -> Tensor:
            return self._label_loss(student, replay(x).logits, teacher)

        features = student.input
        if features.layout != torch.strided:
            features = features.to_dense()
        return loss(perturb(features, loss, self.epsilon, self.steps))
