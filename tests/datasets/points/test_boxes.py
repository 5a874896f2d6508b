import numpy as np
import pytest

from structkd.datasets.points.boxes import (
    EDGES,
    boxes_to_camera,
    boxes_to_lidar,
    camera_corners,
    image_boxes,
    lidar_corners,
    project,
    transform,
)

#: The swap of axes alone: x ahead becomes z ahead, y left becomes -x, z up becomes -y.
SWAP = np.array([[0.0, -1, 0, -0.004], [0, 0, -1, -0.076], [1, 0, 0, -0.272], [0, 0, 0, 1]])
PROJECTION = np.array([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]])


def tilted(random):
    """The swap of axes, and a tilt of about a degree."""
    x, y, z = random.normal(0, 0.02, 3)
    tilt, _ = np.linalg.qr(np.array([[1, -z, y], [z, 1, -x], [-y, x, 1]]))
    matrix = SWAP.copy()
    matrix[:3, :3] = tilt * np.sign(np.diag(tilt)) @ SWAP[:3, :3]
    return matrix


def random_boxes(random, count):
    place = random.uniform([0, -40, -3], [70, 40, 1], (count, 3))
    return np.concatenate([place, random.uniform(0.3, 12, (count, 3)), random.uniform(-np.pi, np.pi, (count, 1))], 1)


def test_conversion_inverts():
    random = np.random.default_rng(0)
    boxes, matrix = random_boxes(random, 1000), tilted(random)
    assert np.allclose(boxes_to_lidar(boxes_to_camera(boxes, matrix), matrix), boxes, rtol=0, atol=1e-9)
    assert np.allclose(boxes_to_camera(boxes_to_lidar(boxes, matrix), matrix), boxes, rtol=0, atol=1e-9)
    single = boxes.astype(np.float32)
    assert np.allclose(boxes_to_lidar(boxes_to_camera(single, matrix), matrix), single, rtol=0, atol=1e-5)
    assert boxes_to_lidar(boxes[:0], matrix).shape == (0, 7)


def test_conversion_hand_computed():
    # A car ten metres ahead that heads ahead: rotation_y is -90 degrees, yaw is 0.
    camera = boxes_to_camera(np.array([[10.272, 2, -1.7, 3.9, 1.6, 1.5, 0]]), SWAP)
    assert camera[0] == pytest.approx([-2.004, 1.624, 10, 3.9, 1.5, 1.6, -np.pi / 2])
    # To the left in the LiDAR's frame is to the left of the image: rotation_y pi.
    assert np.cos(boxes_to_camera(np.array([[9, 0, 0, 1, 1, 1, np.pi / 2]]), SWAP)[0, 6]) == pytest.approx(-1)


def test_corners_are_the_same_in_both_frames():
    boxes = random_boxes(np.random.default_rng(1), 50)
    expected = transform(lidar_corners(boxes), SWAP)
    assert np.allclose(camera_corners(boxes_to_camera(boxes, SWAP)), expected, rtol=0, atol=1e-9)


def test_corners_hand_computed():
    corners = lidar_corners(np.array([[1.0, 2, 3, 4, 2, 1.5, 0]]))[0]
    assert corners[:4].tolist() == [[3, 3, 3], [-1, 3, 3], [-1, 1, 3], [3, 1, 3]]
    assert np.array_equal(corners[4:], corners[:4] + np.array([0, 0, 1.5]))
    lengths = np.linalg.norm(corners[EDGES[:, 0]] - corners[EDGES[:, 1]], axis=1)
    assert sorted(lengths) == [1.5] * 4 + [2] * 4 + [4] * 4


def test_projection():
    pixels, depth = project(np.array([[1.0, -0.5, 10], [0, 0, 0]]), PROJECTION)
    assert pixels[0].tolist() == [670, 145] and depth.tolist() == [10, 0]


def test_image_boxes():
    ahead = [0, 1, 10, 2, 2, 2, 0]  # from 9 to 11 m, as high above the axis as below
    behind, around = [0, 1, -10, 2, 2, 2, 0], [0, 1, 0, 2, 2, 2, 0]
    left = [-40, 1, 10, 2, 2, 2, 0]
    rectangles, visible = image_boxes(np.array([ahead, behind, around, left], dtype=float), PROJECTION)
    half = 700 / 9
    assert rectangles[0] == pytest.approx([600 - half, 180 - half, 600 + half, 180 + half])
    assert visible.tolist() == [True, False, True, True] and not rectangles[1].any()
    # The part nearer than 0.1 m is cut off.
    assert rectangles[2] == pytest.approx([600 - 7000, 180 - 7000, 600 + 7000, 180 + 7000])
    rectangles, visible = image_boxes(np.array([ahead, behind, around, left], dtype=float), PROJECTION, (1242, 375))
    assert visible.tolist() == [True, False, True, False]
    assert rectangles[2].tolist() == [0, 0, 1241, 374]
    assert image_boxes(np.empty((0, 7)), PROJECTION)[0].shape == (0, 4)
