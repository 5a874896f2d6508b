"""A tiny folder in KITTI's layout, made by hand."""

import numpy as np
import pytest

from structkd.datasets.points.kitti_files import format_objects
from structkd.evaluation.kitti import KittiObjects

CALIBRATION = """P0: 700 0 600 0 0 700 180 0 0 0 1 0
P2: 700 0 600 0 0 700 180 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
"""


def car_points(rng, boxes, each=40):
    """Points in camera boxes, LiDAR frame, well inside."""
    along, across, up = (rng.uniform(-0.4, 0.4, (len(boxes), each)) for _ in range(3))
    x, y, z, length, height, width, turn = (boxes[:, i : i + 1] for i in range(7))
    along, across = along * length, across * width
    right = x + along * np.cos(turn) + across * np.sin(turn)
    ahead = z - along * np.sin(turn) + across * np.cos(turn)
    points = np.stack([ahead, -right, -(y - height * (0.5 + up)), rng.random((len(boxes), each))], axis=-1)
    return points.reshape(-1, 4)


def write_frame(folder, name, rng, kinds=("Car", "Pedestrian")):
    """A frame whose objects stand side by side 15 m ahead, with 40 points each, and 200 points around them."""
    for part in ("velodyne", "label_2", "calib"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    place = np.array([[6.0 * i - 6, 1.7, 15] for i in range(len(kinds))]).reshape(-1, 3)
    size = np.tile([3.9, 1.5, 1.6], (len(kinds), 1))
    boxes = np.concatenate([place, size, rng.uniform(-3, 3, (len(kinds), 1))], axis=1)
    around = rng.uniform([2, -8, 3, 0], [60, 8, 4, 1], (200, 4))
    points = np.concatenate([car_points(rng, boxes), around]).astype("<f4")
    rectangles = np.tile([100.0, 100, 200, 180], (len(kinds), 1))
    objects = KittiObjects.from_boxes(list(kinds), boxes, rectangles, truncated=0, occluded=0)
    (folder / "velodyne" / f"{name}.bin").write_bytes(points.tobytes())
    (folder / "label_2" / f"{name}.txt").write_text(
        format_objects(objects) + "DontCare -1 -1 -10 500 150 520 170 -1 -1 -1 -1000 -1000 -1000 -10\n"
    )
    (folder / "calib" / f"{name}.txt").write_text(CALIBRATION)


@pytest.fixture
def kitti_root(tmp_path):
    """Three training frames and a test frame without labels; 000002 has no object."""
    root, rng = tmp_path / "kitti", np.random.default_rng(0)
    for name, kinds in (("000000", ("Car", "Pedestrian")), ("000001", ("Van", "cyclist", "Car")), ("000002", ())):
        write_frame(root / "training", name, rng, kinds)
    write_frame(root / "testing", "000000", rng)
    (root / "testing" / "label_2" / "000000.txt").unlink()
    (root / "testing" / "label_2").rmdir()
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "train.txt").write_text("000000\n000001\n")
    (root / "ImageSets" / "val.txt").write_text("000002\n")
    (root / "ImageSets" / "test.txt").write_text("000000\n")
    return root
