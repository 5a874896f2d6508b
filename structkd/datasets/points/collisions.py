"""Which boxes overlap, seen from above."""

from __future__ import annotations

import numpy as np

#: Corners of the unit square.
_SQUARE = np.array([(0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)])


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[N, M] bool: whether the outlines of LiDAR boxes [N, 7 or 9] and [M, 7 or 9] share a point.

    By the separating axis theorem: two rectangles are apart if and only if they are apart along a side of one.
    """
    return ~(_apart(a, b) | _apart(b, a).T)


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[N, M] bool: all corners of a lie beyond one side of b."""
    cos, sin = np.cos(a[:, 6:7]), np.sin(a[:, 6:7])
    along, across = _SQUARE[:, 0] * a[:, 3:4], _SQUARE[:, 1] * a[:, 4:5]
    x = (a[:, :1] + along * cos - across * sin)[:, None] - b[None, :, :1]
    y = (a[:, 1:2] + along * sin + across * cos)[:, None] - b[None, :, 1:2]
    cos, sin = np.cos(b[:, 6:7]), np.sin(b[:, 6:7])
    ahead, left = x * cos + y * sin, y * cos - x * sin
    half_length, half_width = b[:, 3] / 2, b[:, 4] / 2
    return (
        (ahead.min(2) > half_length)
        | (ahead.max(2) < -half_length)
        | (left.min(2) > half_width)
        | (left.max(2) < -half_width)
    )
