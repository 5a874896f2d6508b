"""Real frames of KITTI: files, geometry and evaluation, each against something computed another way."""

import numpy as np
import pytest
import torch

from structkd.datasets.points.boxes import boxes_to_camera, boxes_to_lidar, image_boxes, lidar_corners, transform
from structkd.datasets.points.kitti_files import read_calibration, read_labels, read_points
from structkd.evaluation.kitti import KittiEvaluation, KittiObjects
from structkd.ops.points_in_boxes import points_in_boxes

COUNTED = ("Car", "Pedestrian", "Cyclist")


@pytest.fixture(scope="module")
def folder(real_data):
    folder = real_data / "kitti_sample" / "training"
    if not folder.is_dir():
        pytest.skip(f"no KITTI frames: there is no folder {folder}")
    return folder


@pytest.fixture(scope="module")
def frames(folder):
    return sorted(path.stem for path in (folder / "label_2").glob("*.txt"))


@pytest.fixture(scope="module")
def labels(folder, frames):
    return [read_labels(folder / "label_2" / f"{frame}.txt") for frame in frames]


@pytest.fixture(scope="module")
def calibrations(folder, frames):
    return [read_calibration(folder / "calib" / f"{frame}.txt") for frame in frames]


@pytest.fixture(scope="module")
def scans(folder, frames):
    return [read_points(folder / "velodyne" / f"{frame}.bin") for frame in frames]


def in_lidar(label, calibration):
    """Boxes of what was labelled in space."""
    return boxes_to_lidar(label.camera_boxes[~label.dont_care], calibration.lidar_to_camera)


def test_all_files_parse(labels, calibrations, scans):
    assert len(labels) >= 10
    for label, scan in zip(labels, scans):
        assert len(label) > 0 and 50_000 < len(scan) < 150_000
        assert scan[:, 3].min() >= 0 and scan[:, 3].max() <= 1


def test_angles_fit_the_places(labels):
    # alpha was labelled, and rotation_y and the place were: one follows from the others.
    label = KittiObjects.concatenate(labels)
    label = label[~label.dont_care]
    again = KittiObjects.from_boxes(label.type, label.camera_boxes, label.image_boxes)
    assert np.abs(np.exp(1j * again.alpha) - np.exp(1j * label.alpha)).max() < 0.05


def test_conversion_inverts(labels, calibrations):
    for label, calibration in zip(labels, calibrations):
        boxes = label.camera_boxes[~label.dont_care]
        back = boxes_to_camera(in_lidar(label, calibration), calibration.lidar_to_camera)
        assert np.allclose(back, boxes, rtol=0, atol=1e-5)


def test_points_in_boxes_against_convex_hulls(labels, calibrations, scans):
    from scipy.spatial import ConvexHull

    for label, calibration, scan in zip(labels, calibrations, scans):
        boxes = in_lidar(label, calibration)
        found = points_in_boxes(torch.from_numpy(scan), torch.from_numpy(boxes)).numpy()
        for inside, corners in zip(found.T, lidar_corners(boxes)):
            planes = ConvexHull(corners).equations
            distance = (scan[:, :3].astype(np.float64) @ planes[:, :3].T + planes[:, 3]).max(1)
            assert np.array_equal(inside[np.abs(distance) > 1e-9], (distance < 0)[np.abs(distance) > 1e-9])


def test_points_in_boxes_against_the_camera_frame(labels, calibrations, scans):
    """The scan moved into the camera's frame, and the boxes as labelled there: all but the faces must agree."""
    least = []
    for label, calibration, scan in zip(labels, calibrations, scans):
        kept = label[~label.dont_care]
        lidar = points_in_boxes(torch.from_numpy(scan), torch.from_numpy(in_lidar(label, calibration))).sum(0)
        points = transform(scan[:, :3].astype(np.float64), calibration.lidar_to_camera)
        for i, (x, y, z, length, height, width, heading) in enumerate(kept.camera_boxes):
            dx, dz = points[:, 0] - x, points[:, 2] - z
            along, across = dx * np.cos(heading) - dz * np.sin(heading), dx * np.sin(heading) + dz * np.cos(heading)
            up = y - points[:, 1]
            # The frames are tilted against each other by a degree or so.
            slack = 0.02 * max(length, height)
            counts = [
                int(
                    (
                        (np.abs(along) <= length / 2 + d)
                        & (np.abs(across) <= width / 2 + d)
                        & (up >= -d)
                        & (up <= height + d)
                    ).sum()
                )
                for d in (-slack, slack)
            ]
            assert counts[0] <= int(lidar[i]) <= counts[1]
            if kept.type[i] in COUNTED:
                least.append(int(lidar[i]))
    # Nothing that counts is empty; the fullest box of these frames holds thousands.
    assert min(least) >= 1 and max(least) > 1000


def test_boxes_project_into_the_images(folder, frames, labels, calibrations):
    image = pytest.importorskip("PIL.Image")
    overlaps = []
    for frame, label, calibration in zip(frames, labels, calibrations):
        with image.open(folder / "image_2" / f"{frame}.png") as picture:
            size = picture.size
        kept = label[~label.dont_care]
        rectangles, visible = image_boxes(kept.camera_boxes, calibration.projection, size)
        assert visible.all()
        assert (rectangles >= 0).all() and (rectangles[:, 2:] <= np.array(size) - 1).all()
        low = np.maximum(rectangles[:, :2], kept.image_boxes[:, :2])
        high = np.minimum(rectangles[:, 2:], kept.image_boxes[:, 2:])
        shared = (high - low).clip(0).prod(1)
        areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (rectangles, kept.image_boxes)]
        overlaps.append(shared / (areas[0] + areas[1] - shared))
    # The 2D boxes were labelled in the image, not projected.
    assert np.median(np.concatenate(overlaps)) > 0.85 and min(map(min, overlaps)) > 0.4


def test_labels_as_detections_have_100(labels):
    # Ten frames hold fewer than the 41 objects that a full curve takes: many copies of each.
    labels = labels * 50
    random = np.random.default_rng(0)
    detections = [KittiObjects(label.type, label.rows, random.random(len(label)))[~label.dont_care] for label in labels]
    evaluation = KittiEvaluation(labels, detections)
    results = evaluation.results()
    for name, counts in evaluation.num_objects().items():
        assert counts[2] > 40
        for level, count in enumerate(counts):
            if count > 40:
                for metric, averages in results[name].items():
                    for values in averages.values():
                        assert values[level] == pytest.approx(100), (name, metric, level)
