"""The boxes that a picture of a scene shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from structkd.errors import DataError
from structkd.visualization.style import CLASS_COLOURS


@dataclass(frozen=True, eq=False)
class SceneBoxes:
    """Boxes of one origin: labels, or what one detector found.

    Attributes:
        title: who they are of, such as "teacher".
        boxes: [N, 7 or more] LiDAR boxes x, y, z, l, w, h, yaw (see `structkd.datasets.points.boxes`).
        labels: [N] index into the classes.
        scores: [N] 0 to 1, of detections; None for labels.
    """

    title: str
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.boxes)
        scores = None if self.scores is None else self.scores.shape
        if self.boxes.ndim != 2 or self.boxes.shape[1] < 7 or self.labels.shape != (count,):
            raise DataError(
                f"SceneBoxes '{self.title}' got boxes {self.boxes.shape} and labels {self.labels.shape}; expected "
                "[N, 7 or more] and [N]."
            )
        if scores not in (None, (count,)):
            raise DataError(f"SceneBoxes '{self.title}' got scores {scores} for {count} boxes.")
        if not np.isfinite(self.boxes).all():
            raise DataError(f"SceneBoxes '{self.title}' got boxes that are not finite.")

    @classmethod
    def of(cls, title: str, prediction: dict[str, Any]) -> SceneBoxes:
        """From what `Detection.predict` gives for one scene: boxes, scores and labels, as tensors or arrays."""
        boxes, scores, labels = (
            torch.as_tensor(prediction[name]).detach().cpu() for name in ("boxes", "scores", "labels")
        )
        return cls(title, boxes.numpy(), labels.numpy(), scores.numpy())

    def __len__(self) -> int:
        return len(self.boxes)

    def above(self, score: float) -> SceneBoxes:
        """Those of at least that score; all labels."""
        if self.scores is None:
            return self
        kept = self.scores >= score
        return SceneBoxes(self.title, self.boxes[kept], self.labels[kept], self.scores[kept])


def class_colour(label: int) -> str:
    """The colour of a class by its index."""
    return CLASS_COLOURS[int(label) % len(CLASS_COLOURS)]


def check_classes(panels: Sequence[SceneBoxes], classes: Sequence[str]) -> None:
    """Refuse boxes whose label is none of the classes.

    Raises:
        DataError: naming the boxes and the label.
    """
    for panel in panels:
        if len(panel) and not 0 <= panel.labels.min() <= panel.labels.max() < len(classes):
            raise DataError(
                f"'{panel.title}' has labels from {panel.labels.min()} to {panel.labels.max()} for {len(classes)} "
                "classes."
            )
