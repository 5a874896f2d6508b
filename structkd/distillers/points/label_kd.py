"""Label distillation: boxes that the teacher is sure of join the labelled ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.points.objects import TARGETS
from structkd.errors import ConfigError, DataError
from structkd.ops.rotated_iou import rotated_iou
from structkd.structure import Structure

#: Columns of a box that are seen from above: x, y, l, w, yaw.
FROM_ABOVE = [0, 1, 3, 4, 6]


class LabelKD(Distiller):
    """The student's own detection loss, on labelled boxes and the teacher's confident ones together.

    Yang et al., "Towards Efficient 3D Object Detection with Knowledge Distillation", NeurIPS 2022, label distillation
    (github.com/CVMI-Lab/SparseKD).

    Args:
        scores: score above which a teacher's box counts, one for all classes or one a class. Published .6 for
            voxel-based students; .6, .5, .5 (car, pedestrian, cyclist) for pillars.
        overlap: a teacher's box is left out if its intersection over union with a labelled box of the scene, of any
            class, is above this, seen from above; 1 keeps all.

    Reads `detection` of both sides (the student's `loss`, the teacher's `predict`) and the student's `boxes`, `labels`
    and `boxes_batch`. Both sides number the classes alike. Returns the losses of the student's detection under their
    own names: they take the place of the objective (give that weight 0), beside which labelled boxes would count twice.
    Not zero when the sides are equal, by construction.

    Differences: the authors keep teacher boxes on top of labelled ones, where target assignment then decides between
    the two; ours lets the label stand.
    """

    reads = frozenset({"detection"})
    reads_student = TARGETS

    def __init__(self, scores: float | Sequence[float] = 0.6, overlap: float = 0.1) -> None:
        super().__init__()
        values = (scores,) if isinstance(scores, (int, float)) else tuple(scores)
        if not values or not all(0 <= value <= 1 for value in values):
            raise ConfigError(f"LabelKD(scores={scores}): expected scores from 0 to 1, one for all or one a class.")
        if not 0 <= overlap <= 1:
            raise ConfigError(f"LabelKD(overlap={overlap}): expected an intersection over union from 0 to 1.")
        self.scores, self.overlap = values, overlap

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        with torch.no_grad():
            boxes, labels, scene = self.merged(student, teacher.detection.predict())
        return student.detection.loss(boxes, labels, scene)

    def merged(self, student: Structure, found: Sequence[Mapping[str, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [M, 7 or 9], labels [M] and scenes [M] (ascending) of the labelled and the teacher's boxes.

        Args:
            student: holds `boxes`, `labels`, `boxes_batch`.
            found: one dict a scene: `boxes`, `scores`, `labels`.

        Raises:
            DataError: a scene number, or a class, that there is no prediction, or no score, for.
        """
        boxes, labels, scene = student.boxes, student.labels, student.boxes_batch
        if scene.numel() and int(scene.max()) >= len(found):
            raise DataError(f"LabelKD: boxes_batch names scene {int(scene.max())}, the teacher predicts {len(found)}.")
        parts = []
        for index, prediction in enumerate(found):
            own = scene == index
            sure = prediction["scores"] > self._thresholds(prediction["labels"])
            extra, kinds = prediction["boxes"][sure].to(boxes), prediction["labels"][sure]
            shared = rotated_iou(extra[:, FROM_ABOVE], boxes[own][:, FROM_ABOVE])
            new = (shared <= self.overlap).all(1)
            parts.append((boxes[own], labels[own]))
            parts.append((with_columns(extra[new], boxes.size(1)), kinds[new].to(labels)))
        if not parts:
            return boxes, labels, scene
        count = torch.tensor([len(part[1]) for part in parts], device=scene.device)
        scenes = torch.arange(len(found), device=scene.device).repeat_interleave(2).repeat_interleave(count)
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]), scenes.to(scene)

    def _thresholds(self, labels: Tensor) -> Tensor:
        """[n] the score that each box has to exceed."""
        if len(self.scores) == 1:
            return torch.full(labels.shape, self.scores[0], device=labels.device)
        if labels.numel() and int(labels.max()) >= len(self.scores):
            raise DataError(
                f"LabelKD: the teacher predicts class {int(labels.max())}, but scores names {len(self.scores)} classes."
            )
        return torch.tensor(self.scores, device=labels.device)[labels]


def with_columns(boxes: Tensor, columns: int) -> Tensor:
    """Boxes [n, columns]: what is too much is cut off, what is missing (velocities) is NaN, which is not learned."""
    if boxes.size(1) >= columns:
        return boxes[:, :columns]
    return torch.cat([boxes, boxes.new_full((boxes.size(0), columns - boxes.size(1)), torch.nan)], 1)
