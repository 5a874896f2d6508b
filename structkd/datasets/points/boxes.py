"""3D boxes in the camera's and the LiDAR's frame, their corners and their images.

A LiDAR box is x, y, z, l, w, h, yaw (x ahead, y left, z up; yaw counter-clockwise from x), a camera box is
x, y, z, l, h, w, rotation_y as in KITTI's files (x right, y down, z ahead). In both frames (x, y, z) is the centre
of the bottom face, in metres, and angles are radians.
"""

from __future__ import annotations

import numpy as np

from structkd.evaluation.kitti.objects import wrap

#: Corners go around the bottom face from the front left one (as seen from inside), then around the top face.
CORNERS = np.array([(x, y, z) for z in (0, 1) for x, y in ((1, 1), (-1, 1), (-1, -1), (1, -1))]) / (2, 2, 1)
_AROUND = [(i, (i + 1) % 4) for i in range(4)]
#: The 12 edges as pairs of corners.
EDGES = np.array([*_AROUND, *((i + 4, j + 4) for i, j in _AROUND), *((i, i + 4) for i in range(4))])
#: What is nearer to the camera than this, in metres, has no sensible image.
NEAR = 0.1


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points [..., 3] under a rigid transform [4, 4]."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def boxes_to_lidar(boxes: np.ndarray, lidar_to_camera: np.ndarray) -> np.ndarray:
    """Camera boxes [N, 7] as LiDAR boxes [N, 7].

    Args:
        boxes: camera boxes.
        lidar_to_camera: [4, 4], as in `Calibration`.

    Differences: between the two frames lie a swap of axes and, in KITTI, a tilt of about a degree. The place takes
    both; the heading takes the swap alone, as it does in OpenPCDet and mmdet3d. So boxes stay upright in both
    frames, and `boxes_to_camera` inverts this.
    """
    place = np.linalg.solve(lidar_to_camera[:3, :3], (boxes[:, :3] - lidar_to_camera[:3, 3]).T).T
    return np.concatenate([place, _swap_axes(boxes[:, 3:])], axis=1)


def boxes_to_camera(boxes: np.ndarray, lidar_to_camera: np.ndarray) -> np.ndarray:
    """LiDAR boxes [N, 7] as camera boxes [N, 7]; the inverse of `boxes_to_lidar`."""
    return np.concatenate([transform(boxes[:, :3], lidar_to_camera), _swap_axes(boxes[:, 3:])], axis=1)


def _swap_axes(size_and_heading: np.ndarray) -> np.ndarray:
    """l, h, w, rotation_y <-> l, w, h, yaw: one formula for both ways."""
    length, second, third, heading = size_and_heading.T
    return np.stack([length, third, second, wrap(-heading - np.pi / 2)], axis=1)


def lidar_corners(boxes: np.ndarray) -> np.ndarray:
    """Corners [N, 8, 3] of LiDAR boxes [N, 7], in the order of `CORNERS`."""
    along, left, up = np.moveaxis(CORNERS * boxes[:, None, 3:6], 2, 0)
    cos, sin = np.cos(boxes[:, 6:]), np.sin(boxes[:, 6:])
    return boxes[:, None, :3] + np.stack([along * cos - left * sin, along * sin + left * cos, up], axis=2)


def camera_corners(boxes: np.ndarray) -> np.ndarray:
    """Corners [N, 8, 3] of camera boxes [N, 7], in the order of `CORNERS`."""
    along, left, up = np.moveaxis(CORNERS * boxes[:, None, [3, 5, 4]], 2, 0)
    cos, sin = np.cos(boxes[:, 6:]), np.sin(boxes[:, 6:])
    return boxes[:, None, :3] + np.stack([along * cos + left * sin, -up, left * cos - along * sin], axis=2)


def project(points: np.ndarray, projection: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [..., 2] and depths [...] of points [..., 3] in the camera frame; projection [3, 4] is KITTI's P2.

    Only pixels of positive depth mean anything; at depth 0 they are NaN or infinite.
    """
    image = points @ projection[:, :3].T + projection[:, 3]
    depth = image[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return image[..., :2] / depth[..., None], depth


def image_boxes(
    boxes: np.ndarray, projection: np.ndarray, image_size: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The upright rectangles around the images of camera boxes.

    The part of a box behind the camera is cut off, so that a box that reaches past the camera gets the image of the
    part ahead.

    Args:
        boxes: [N, 7] camera boxes.
        projection: [3, 4], KITTI's P2.
        image_size: width and height in pixels; rectangles are then clipped to 0..width-1 and 0..height-1.

    Returns:
        [N, 4] x1, y1, x2, y2 in pixels (0 for what is not visible), and [N] bool: something of the box is ahead of
        the camera and, given an image size, within the image.
    """
    corners = camera_corners(boxes)
    start, end = corners[:, EDGES[:, 0]], corners[:, EDGES[:, 1]]
    ahead_start, ahead_end = start[..., 2:] - NEAR, end[..., 2:] - NEAR
    crosses = (ahead_start >= 0) != (ahead_end >= 0)
    fraction = ahead_start / np.where(crosses, ahead_start - ahead_end, 1)
    outline = np.concatenate([corners, start + fraction * (end - start)], axis=1)
    valid = np.concatenate([corners[..., 2:] >= NEAR, crosses], axis=1)
    pixels, _ = project(outline, projection)
    visible = np.any(valid, axis=(1, 2))
    low = np.where(valid, pixels, np.inf).min(1, initial=np.inf)
    high = np.where(valid, pixels, -np.inf).max(1, initial=-np.inf)
    if image_size is not None:
        limit = np.array(image_size) - 1
        visible &= ((low <= limit) & (high >= 0)).all(1)
        low, high = np.clip(low, 0, limit), np.clip(high, 0, limit)
    return np.where(visible[:, None], np.concatenate([low, high], axis=1), 0), visible
