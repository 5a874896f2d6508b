"""The objects of one frame, labelled or detected, in KITTI's terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from structkd.errors import DataError

#: The numeric columns of a label file, in its order; a result file adds the score.
COLUMNS = (
    *("truncated", "occluded", "alpha", "x1", "y1", "x2", "y2"),
    *("height", "width", "length", "x", "y", "z", "rotation_y"),
)
#: What the object benchmark writes where it knows nothing, in all columns but the 2D box.
UNKNOWN = np.array([-1, -1, -10, 0, 0, 0, 0, -1, -1, -1, -1000, -1000, -1000, -10], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class KittiObjects:
    """N objects of one frame, in the order of the file: the evaluation depends on it.

    Attributes:
        type: [N] names, such as "Car", "Van" or "DontCare".
        rows: [N, 14] float64, the columns named in `COLUMNS`.
        score: [N] float64 confidence of detections, of any scale; None for labels.
    """

    type: np.ndarray
    rows: np.ndarray
    score: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.type)
        scores = None if self.score is None else self.score.shape
        if self.type.ndim != 1 or self.rows.shape != (count, len(COLUMNS)) or scores not in (None, (count,)):
            raise DataError(
                f"KittiObjects got type {self.type.shape}, rows {self.rows.shape} and score {scores}; expected [N], "
                f"[N, {len(COLUMNS)}] and [N] or None."
            )

    @classmethod
    def from_boxes(
        cls,
        type: Sequence[str] | np.ndarray,
        camera_boxes: np.ndarray,
        image_boxes: np.ndarray,
        score: np.ndarray | None = None,
        *,
        truncated: np.ndarray | float = -1,
        occluded: np.ndarray | float = -1,
    ) -> KittiObjects:
        """Objects from boxes; the observation angle follows from them.

        Args:
            type: [N] names.
            camera_boxes: [N, 7] x, y, z, l, h, w, rotation_y, see `camera_boxes`.
            image_boxes: [N, 4] x1, y1, x2, y2 in pixels.
            score: [N], for detections.
            truncated: share outside the image, 0 to 1. occluded: 0 (visible) to 3 (unknown). Detections have neither.
        """
        x, z, yaw = (camera_boxes[:, column].astype(np.float64) for column in (0, 2, 6))
        rows = np.empty((len(camera_boxes), len(COLUMNS)))
        rows[:, 0], rows[:, 1], rows[:, 2] = truncated, occluded, wrap(yaw - np.arctan2(x, z))
        rows[:, 3:7], rows[:, 7:10], rows[:, 10:13] = image_boxes, camera_boxes[:, [4, 5, 3]], camera_boxes[:, :3]
        rows[:, 13] = wrap(yaw)
        score = None if score is None else np.asarray(score, dtype=np.float64)
        return cls(np.array(type, dtype=np.str_), rows, score)

    @classmethod
    def concatenate(cls, frames: Sequence[KittiObjects]) -> KittiObjects:
        """The objects of several frames, one after another; scores only if all frames have them."""
        scores = [frame.score for frame in frames if frame.score is not None]
        return cls(
            np.concatenate([np.empty(0, dtype=np.str_), *(frame.type for frame in frames)]),
            np.concatenate([np.empty((0, len(COLUMNS))), *(frame.rows for frame in frames)]),
            np.concatenate([np.empty(0), *scores]) if len(scores) == len(frames) else None,
        )

    def __len__(self) -> int:
        return len(self.type)

    def __getitem__(self, index: np.ndarray | slice) -> KittiObjects:
        return KittiObjects(self.type[index], self.rows[index], None if self.score is None else self.score[index])

    @property
    def truncated(self) -> np.ndarray:
        """[N] share of the object outside the image, 0 to 1; -1 unknown."""
        return self.rows[:, 0]

    @property
    def occluded(self) -> np.ndarray:
        """[N] 0 visible, 1 partly, 2 largely occluded, 3 unknown; -1 for detections and DontCare."""
        return self.rows[:, 1]

    @property
    def alpha(self) -> np.ndarray:
        """[N] observation angle in radians: heading as seen along the ray to the object; -10 unknown."""
        return self.rows[:, 2]

    @property
    def image_boxes(self) -> np.ndarray:
        """[N, 4] x1, y1, x2, y2 in pixels."""
        return self.rows[:, 3:7]

    @property
    def camera_boxes(self) -> np.ndarray:
        """[N, 7] x, y, z, l, h, w, rotation_y in metres and radians, rectified camera frame (x right, y down, z ahead).

        (x, y, z) is the centre of the bottom face; rotation_y turns about y and is 0 for a heading along x.
        """
        return self.rows[:, [10, 11, 12, 9, 7, 8, 13]]

    @property
    def image_height(self) -> np.ndarray:
        """[N] height of the 2D box in pixels."""
        return self.rows[:, 6] - self.rows[:, 4]

    @cached_property
    def kind(self) -> np.ndarray:
        """[N] type in lower case, as the benchmark compares types."""
        return np.char.lower(self.type)

    @property
    def dont_care(self) -> np.ndarray:
        """[N] bool: image regions in which nothing was labelled."""
        return self.kind == "dontcare"


def wrap(angle: np.ndarray) -> np.ndarray:
    """The same angle from -pi (included) to pi (excluded)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
