"""RKD: distances and angles between elements."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, positive
from structkd.distillers.draws import pass_generator
from structkd.distillers.features.pairs import FeaturePair, paired_features
from structkd.losses.relational import angle_loss, distance_loss
from structkd.structure import Structure


class RKD(Distiller):
    r"""Distance-wise and angle-wise relations among elements drawn from each sample, or among samples.

    Park et al., "Relational Knowledge Distillation", CVPR 2019, section 3.2:

    .. math::
        L = w_d \sum_{i, j} l\Big(\frac{\|s_i - s_j\|}{\mu_s}, \frac{\|t_i - t_j\|}{\mu_t}\Big)
          + w_a \sum_{i, j, k} l(\cos \angle s_i s_j s_k, \cos \angle t_i t_j t_k)

    as means over pairs and triplets of distinct elements and over samples; mu are mean distances, l is the Huber loss.

    Args:
        field: what is compared, a map [B, C, H, W] (elements are its cells), rows [N, C] with `batch`, or one vector
            a sample [B, C] without `batch` (elements are the samples of the batch: the published use on images).
        elements: most elements of a sample, drawn uniformly without replacement, the same on both sides; a sample that
            has no more takes part whole. Give the batch size or more for the published use. Time of the angles grows
            with the cube, memory does not (see `structkd.losses.angle_loss`).
        distance_weight, angle_weight: weight of each term; 0 leaves it out. Published: 1 to 2, as 25 and 50 in
            classification.
        seed: of the draws.

    Reads `field` of both sides, of any number of channels. Returns `distance` and `angle`, zero when the sides are
    equal up to a rotation, a shift and a scale. Nothing is learned beside the student.

    Buffer `step` counts training passes: pass n draws by `seed` and n, so a resumed run draws what it would have.

    Differences: the paper relates the images of a batch by their embeddings: name a vector field for that. With a few
    scenes a batch, and for detectors, it is the elements within a scene. Means over distinct pairs and triplets, see
    `structkd.losses.relational`.
    """

    step: Tensor

    def __init__(
        self,
        field: str = "neck",
        elements: int = 64,
        distance_weight: float = 1.0,
        angle_weight: float = 2.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        positive("RKD", elements=elements)
        not_negative("RKD", distance_weight=distance_weight, angle_weight=angle_weight)
        self.field, self.reads, self.elements, self.seed = field, frozenset({field}), elements, seed
        self.distance_weight, self.angle_weight = distance_weight, angle_weight
        self.register_buffer("step", torch.tensor(0))

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        pairs = self._drawn(paired_features(student, teacher, self.field, "RKD"))
        nothing = student[self.field].sum() * 0
        losses = {}
        for name, weight, loss in (
            ("distance", self.distance_weight, distance_loss),
            ("angle", self.angle_weight, angle_loss),
        ):
            if weight:
                values = [loss(x_s, x_t) for x_s, x_t in pairs]
                losses[name] = weight * (torch.stack(values).mean() if values else nothing)
        return losses

    def _drawn(self, features: FeaturePair) -> list[tuple[Tensor, Tensor]]:
        """Rows [n, C_s] and [n, C_t] of each sample that has any, n up to `elements`."""
        if features.batch is None:
            samples = list(zip(*(f.flatten(2).mT for f in features[:2])))
        else:
            counts = torch.bincount(features.batch).tolist() if features.batch.numel() else []
            samples = [sides for sides in zip(*(f.split(counts) for f in features[:2])) if len(sides[0])]
        generator = pass_generator(self.seed, self.step, self.training)
        drawn = []
        for x_s, x_t in samples:
            if x_s.size(0) > self.elements:
                rows = torch.randperm(x_s.size(0), generator=generator)[: self.elements].to(x_s.device)
                x_s, x_t = x_s[rows], x_t[rows]
            drawn.append((x_s, x_t))
        return drawn
