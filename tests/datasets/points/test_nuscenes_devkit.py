"""The tiny tables through the official devkit and through ours; needs nuscenes-devkit, which is optional."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from structkd.datasets.points.nuscenes import NuScenesFrames
from structkd.datasets.points.nuscenes_infos import write_nuscenes_infos
from structkd.datasets.points.nuscenes_labels import table_labels
from structkd.datasets.points.nuscenes_tables import NuScenesTables
from structkd.evaluation.nuscenes import ATTRIBUTES, CLASSES

devkit = pytest.importorskip("nuscenes.nuscenes")


@pytest.fixture
def both(tmp_path):
    spec = importlib.util.spec_from_file_location("tables", Path(__file__).with_name("nuscenes_tables.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_tables(tmp_path)
    folder = tmp_path / "v1.0-mini"
    for name, rows in dict(visibility=[], map=[dict(token="m", filename="m.png", log_tokens=["l"])], log=[]).items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    (folder / "log.json").write_text(json.dumps([dict(token="l", logfile="")]))
    sensors = json.loads((folder / "sensor.json").read_text())
    (folder / "sensor.json").write_text(json.dumps([row | dict(modality="lidar") for row in sensors]))
    (tmp_path / "m.png").write_bytes(b"")
    return devkit.NuScenes("v1.0-mini", str(tmp_path), verbose=False), NuScenesTables(tmp_path, "v1.0-mini"), tmp_path


def test_labels(both):
    from nuscenes.eval.common.loaders import load_gt_of_sample_tokens
    from nuscenes.eval.detection.data_classes import DetectionBox

    theirs, ours, _ = both
    tokens = ours.samples("all")
    assert sorted(tokens) == sorted(row["token"] for row in theirs.sample)
    expected = load_gt_of_sample_tokens(theirs, tokens, DetectionBox).all
    found = table_labels(ours, tokens)
    assert len(found) == len(expected) == 18
    for row, box in enumerate(expected):
        assert tokens[found.sample[row]] == box.sample_token and CLASSES[found.label[row]] == box.detection_name
        np.testing.assert_allclose(found.center[row], box.translation)
        np.testing.assert_allclose(found.size[row], box.size)
        np.testing.assert_allclose(found.velocity[row], box.velocity)
        assert found.num_points[row] == box.num_pts
        name = "" if found.attribute[row] < 0 else ATTRIBUTES[found.attribute[row]]
        assert name == box.attribute_name


def test_frames(both):
    from nuscenes.utils.data_classes import LidarPointCloud

    theirs, _, root = both
    write_nuscenes_infos(root, "v1.0-mini", ["val"], show_progress=False)
    frames = NuScenesFrames(root, "nuscenes_infos_val.pkl", sweeps=5)
    for frame in frames:
        sample = theirs.get("sample", frame.frame_id)
        cloud, times = LidarPointCloud.from_file_multisweep(theirs, sample, "LIDAR_TOP", "LIDAR_TOP", nsweeps=5)
        np.testing.assert_allclose(frame.points[:, :3], cloud.points[:3].T, atol=1e-3)
        np.testing.assert_allclose(frame.points[:, 4], times[0], atol=1e-5)
        _, boxes, _ = theirs.get_sample_data(sample["data"]["LIDAR_TOP"])
        boxes = [box for box in boxes if box.name.startswith("vehicle")]
        for found, box in zip(frame.boxes, boxes):
            np.testing.assert_allclose(found[:2], box.center[:2], atol=1e-4)
            assert found[2] + found[5] / 2 == pytest.approx(box.center[2], abs=1e-4)
            heading = box.rotation_matrix[:2, 0]
            assert found[6] == pytest.approx(np.arctan2(heading[1], heading[0]), abs=1e-5)
