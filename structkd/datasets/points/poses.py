"""Rigid transforms from quaternions, and boxes between the LiDAR's frame and the global one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from structkd.errors import DataError

#: Tolerance of a rotation in single precision.
ORTHOGONAL = 1e-3


def rotation_matrix(quaternion: np.ndarray) -> np.ndarray:
    """[..., 3, 3] rotations of quaternions [..., 4] (w, x, y, z) of any length; NaN for length 0."""
    with np.errstate(invalid="ignore"):
        w, x, y, z = np.moveaxis(quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def quaternion_of(rotation: np.ndarray) -> np.ndarray:
    """[4] unit quaternion w, x, y, z with w >= 0 of a rotation [3, 3]."""
    # The quaternion is the eigenvector of the largest eigenvalue of this matrix (Bar-Itzhack 2000), which also gives
    # the nearest rotation to a matrix that is not quite one.
    (a, b, c), (d, e, f), (g, h, i) = rotation
    form = [
        [a + e + i, h - f, c - g, d - b],
        [0, a - e - i, b + d, c + g],
        [0, 0, e - a - i, f + h],
        [0, 0, 0, i - a - e],
    ]
    upper = np.array(form, dtype=np.float64)
    quaternion = np.linalg.eigh(upper + np.triu(upper, 1).T)[1][:, -1]
    return quaternion if quaternion[0] >= 0 else -quaternion


def pose(translation: Sequence[float], quaternion: Sequence[float]) -> np.ndarray:
    """[4, 4] transform that rotates and then moves, such as a vehicle's or a sensor's frame to the one around it."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation_matrix(np.asarray(quaternion, dtype=np.float64)), translation
    return matrix


def invert(matrix: np.ndarray) -> np.ndarray:
    """[4, 4] the inverse of a rigid transform."""
    inverse = np.eye(4)
    inverse[:3, :3], inverse[:3, 3] = matrix[:3, :3].T, -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse


def rigid(values: object, name: str) -> np.ndarray:
    """[4, 4] float64 of nested lists.

    Raises:
        DataError: another shape, numbers that are not finite, or no rotation.
    """
    matrix = np.array(values, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise DataError(f"{name} is {list(matrix.shape)}; expected 4 x 4 finite numbers")
    rotation = matrix[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=ORTHOGONAL) or np.linalg.det(rotation) < 0:
        raise DataError(f"{name} holds no rotation")
    return matrix


def boxes_to_global(
    boxes: np.ndarray, lidar_to_global: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """LiDAR boxes in nuScenes' global terms.

    Args:
        boxes: [N, 9] x, y, z of the centre of the bottom face, l, w, h, yaw, velocity x, y.
        lidar_to_global: [4, 4].

    Returns:
        Centres [N, 3] of the whole boxes, sizes [N, 3] as width, length, height, quaternions [N, 4], velocities [N, 2].
    """
    rotation, half = lidar_to_global[:3, :3], boxes[:, 6].astype(np.float64) / 2
    middle = boxes[:, :3].astype(np.float64)
    middle[:, 2] += boxes[:, 5] / 2
    w, x, y, z = quaternion_of(rotation)
    cos, sin = np.cos(half), np.sin(half)
    # The turn about z of the LiDAR, and then that of the LiDAR: a product of quaternions of which one has no x and y.
    turned = np.stack([w * cos - z * sin, x * cos + y * sin, y * cos - x * sin, z * cos + w * sin], 1)
    velocity = boxes[:, 7:9] @ rotation[:2, :2].T
    return middle @ rotation.T + lidar_to_global[:3, 3], boxes[:, [4, 3, 5]].astype(np.float64), turned, velocity


def boxes_from_global(
    center: np.ndarray, size: np.ndarray, quaternion: np.ndarray, velocity: np.ndarray, lidar_to_global: np.ndarray
) -> np.ndarray:
    """[N, 9] float64 LiDAR boxes; the inverse of `boxes_to_global`, whose results are the arguments.

    Differences: a box that is upright in the global frame leans by the tilt of the LiDAR (a degree or so), which a
    LiDAR box cannot say; its heading is that of the box seen from above. mmdet3d takes the first of three Euler
    angles, which is the same up to the square of the tilt.
    """
    back = invert(lidar_to_global)
    place = center @ back[:3, :3].T + back[:3, 3]
    place[:, 2] -= size[:, 2] / 2
    heading = rotation_matrix(quaternion.reshape(-1, 4))[:, :, 0] @ back[:3, :3].T
    flat = np.nan_to_num(velocity) @ back[:2, :2].T + np.where(np.isnan(velocity), np.nan, 0)
    return np.concatenate([place, size[:, [1, 0, 2]], np.arctan2(heading[:, 1], heading[:, 0])[:, None], flat], axis=1)
