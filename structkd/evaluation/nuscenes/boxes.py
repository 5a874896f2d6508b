"""The boxes of many samples, labelled or detected, in nuScenes' terms."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from structkd.errors import DataError
from structkd.evaluation.nuscenes.criteria import ATTRIBUTES, CLASSES


@dataclass(frozen=True, eq=False)
class NuScenesBoxes:
    """N boxes of S samples in the global frame, in the order of their file: ties are broken by it.

    Attributes:
        samples: S tokens.
        sample: [N] int64 index into `samples`.
        label: [N] int64 index into `CLASSES`.
        center: [N, 3] float64 x, y, z of the middle of the box, in metres.
        size: [N, 3] float64 width, length, height in metres, positive.
        rotation: [N, 4] float64 quaternion w, x, y, z, of any length but 0.
        velocity: [N, 2] float64 x, y in metres a second; NaN where it is not known.
        attribute: [N] int64 index into `ATTRIBUTES`, -1 for none.
        score: [N] float64 confidence of detections, 0 or more; None for labels.
        num_points: [N] int64 points of LiDAR and radar in a labelled box; -1 unknown.
        ego: [S, 3] float64 where the vehicle is; None where that is not known, and then no box is too far.
        racks: [R, 10] float64 bicycle racks: center, size, rotation as above; `rack_sample` [R] int64 their samples.
    """

    samples: tuple[str, ...]
    sample: np.ndarray
    label: np.ndarray
    center: np.ndarray
    size: np.ndarray
    rotation: np.ndarray
    velocity: np.ndarray
    attribute: np.ndarray
    score: np.ndarray | None = None
    num_points: np.ndarray | None = None
    ego: np.ndarray | None = None
    racks: np.ndarray | None = None
    rack_sample: np.ndarray | None = None

    def __post_init__(self) -> None:
        n, s, r = len(self.sample), len(self.samples), 0 if self.racks is None else len(self.racks)
        shapes = {
            **dict(sample=(n,), label=(n,), center=(n, 3), size=(n, 3), rotation=(n, 4), velocity=(n, 2)),
            **dict(attribute=(n,), score=(n,), num_points=(n,), ego=(s, 3), racks=(r, 10), rack_sample=(r,)),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise DataError(f"NuScenesBoxes got {name} {value.shape}; expected {shape} for {n} boxes.")
        if (self.racks is None) != (self.rack_sample is None):
            raise DataError("NuScenesBoxes got one of racks and rack_sample; expected both or none.")
        if len(set(self.samples)) != s:
            raise DataError("NuScenesBoxes got samples that occur twice.")
        for name, count in (("sample", s), ("label", len(CLASSES)), ("attribute", len(ATTRIBUTES)), ("rack_sample", s)):
            index = getattr(self, name)
            low = -1 if name == "attribute" else 0
            if index is not None and index.size and not (low <= index.min() and index.max() < count):
                raise DataError(f"NuScenesBoxes got {name} from {index.min()} to {index.max()}; there are {count}.")

    def __len__(self) -> int:
        return len(self.sample)

    def __getitem__(self, rows: Any) -> NuScenesBoxes:
        """The boxes of the given rows (indices or bools) of the same samples."""
        per_box = set(PER_BOX)
        kept = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name in per_box and self._has(f.name)}
        return replace(self, **kept)

    def _has(self, name: str) -> bool:
        return getattr(self, name) is not None


#: Fields with one row a box.
PER_BOX = ("sample", "label", "center", "size", "rotation", "velocity", "attribute", "score", "num_points")


def yaw(rotation: np.ndarray) -> np.ndarray:
    """[N] heading in radians of quaternions [N, 4] of any length: where the x axis points, as seen from above."""
    w, x, y, z = rotation.T
    return np.arctan2(2 * (x * y + w * z), w * w + x * x - y * y - z * z)


def rotate_back(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Points [N, 3] under the inverse rotations of quaternions [N, 4] of any length but 0."""
    w, axis = rotation[:, :1], -rotation[:, 1:]
    across = np.cross(axis, points)
    return points + 2 * (w * across + np.cross(axis, across)) / (rotation**2).sum(1, keepdims=True)
