"""One LiDAR frame with its boxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from structkd.datasets.points.kitti_files import Calibration
from structkd.errors import DataError


@dataclass(eq=False)
class Frame:
    """A scan and the boxes of the classes asked for. Augmentations make new frames and leave theirs alone.

    Attributes:
        points: [P, C] float32: x, y, z in metres (LiDAR frame: x ahead, y left, z up), reflectance 0 to 1, and further
            columns such as a time lag.
        boxes: [M, 7 or 9] float32 LiDAR boxes x, y, z, l, w, h, yaw (see `structkd.datasets.points.boxes`), then
            velocities x, y in metres a second where they are known.
        labels: [M] int64 indices into the classes of the dataset.
        frame_id: the name of the frame, such as "000042".
        calibration: what leads to the image; None where there is none.
        image_size: width and height in pixels.
    """

    points: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    frame_id: str
    calibration: Calibration | None = None
    image_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        points, boxes, labels = self.points.shape, self.boxes.shape, self.labels.shape
        if len(points) != 2 or points[1] < 3 or len(boxes) != 2 or boxes[1] not in (7, 9) or labels != boxes[:1]:
            raise DataError(
                f"Frame {self.frame_id} got points {points}, boxes {boxes} and labels {labels}; expected "
                "[P, 3 or more], [M, 7 or 9] and [M]."
            )

    def replace(self, **changes: Any) -> Frame:
        """The same frame with other fields."""
        return replace(self, **changes)


class Frames(Protocol):
    """What a dataset of frames offers: a sequence, and the names of its classes."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Frame: ...

    def __iter__(self) -> Iterator[Frame]: ...
