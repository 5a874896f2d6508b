import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from structkd.datasets.points.poses import (
    boxes_from_global,
    boxes_to_global,
    invert,
    pose,
    quaternion_of,
    rigid,
    rotation_matrix,
)
from structkd.errors import DataError


def tilted(seed=0):
    """A sensor's pose: turned as it may be, tilted by about a degree."""
    tilt = Rotation.from_euler("zyx", [2.5 + seed, 0.02, -0.01])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = tilt.as_matrix(), (400, 1100, 1.8)
    return matrix


def test_rotations_are_scipys():
    rng = np.random.default_rng(0)
    quaternions = rng.normal(size=(200, 4))
    expected = Rotation.from_quat(quaternions[:, [1, 2, 3, 0]])
    assert_allclose(rotation_matrix(quaternions), expected.as_matrix(), atol=1e-12)
    for quaternion in quaternions:
        unit = quaternion / np.linalg.norm(quaternion) * (1 if quaternion[0] >= 0 else -1)
        assert_allclose(quaternion_of(rotation_matrix(quaternion)), unit, atol=1e-12)
    half_turns = [np.diag(signs) for signs in ([1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1])]
    for matrix in half_turns:
        assert_allclose(rotation_matrix(quaternion_of(matrix)), matrix, atol=1e-12)


def test_pose_and_inverse():
    matrix = pose([1, 2, 3], [np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    assert_allclose(matrix @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)
    assert_allclose(invert(matrix) @ matrix, np.eye(4), atol=1e-12)


def test_boxes_there_and_back():
    rng = np.random.default_rng(0)
    boxes = np.concatenate(
        [rng.uniform(-50, 50, (60, 3)), rng.uniform(0.5, 9, (60, 3)), rng.uniform(-3, 3, (60, 3))], axis=1
    )
    for seed in range(3):
        there = boxes_to_global(boxes, tilted(seed))
        back = boxes_from_global(*there, tilted(seed))
        assert_allclose(back[:, :7], boxes[:, :7], atol=1e-9)
        assert_allclose(back[:, 7:], boxes[:, 7:], atol=0.01)  # speeds stay in the plane of each frame
        assert_allclose(np.linalg.norm(there[2], axis=1), 1)


def test_hand_computed_box():
    """The LiDAR looks along the global y axis from (10, 20, 2)."""
    lidar_to_global = pose([10, 20, 2], [np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    center, size, rotation, velocity = boxes_to_global(np.array([[5.0, 1, -1, 4, 2, 1.5, 0, 3, 0]]), lidar_to_global)
    assert_allclose(center, [[9, 25, 1.75]], atol=1e-12)
    assert_allclose(size, [[2, 4, 1.5]])
    assert_allclose(rotation, [[np.sqrt(0.5), 0, 0, np.sqrt(0.5)]], atol=1e-12)
    assert_allclose(velocity, [[0, 3]], atol=1e-12)


def test_unknown_velocities_stay_unknown_and_no_boxes_are_no_boxes():
    known, unknown = np.array([[1.0, 2]]), np.array([[np.nan, np.nan]])
    box = np.zeros((1, 3)), np.ones((1, 3)), np.array([[1.0, 0, 0, 0]])
    assert np.isnan(boxes_from_global(*box, unknown, tilted())[0, 7:]).all()
    assert np.isfinite(boxes_from_global(*box, known, tilted())).all()
    assert [part.shape for part in boxes_to_global(np.empty((0, 9)), tilted())] == [(0, 3), (0, 3), (0, 4), (0, 2)]
    nothing = boxes_from_global(np.empty((0, 3)), np.empty((0, 3)), np.empty((0, 4)), np.empty((0, 2)), tilted())
    assert nothing.shape == (0, 9)


def test_errors():
    for value, match in (
        (np.eye(3), "lidar2ego is"),
        (np.full((4, 4), np.nan), "finite"),
        (np.diag([1.0, 1, -1, 1]), "no rotation"),
    ):
        with pytest.raises(DataError, match=match):
            rigid(value, "lidar2ego")
