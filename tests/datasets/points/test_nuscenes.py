import importlib.util
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from structkd.datasets.points.boxes import lidar_corners, transform
from structkd.datasets.points.nuscenes import NuScenesFrames
from structkd.datasets.points.nuscenes_infos import write_nuscenes_infos
from structkd.datasets.points.nuscenes_labels import table_labels
from structkd.datasets.points.nuscenes_predictions import to_nuscenes
from structkd.datasets.points.nuscenes_splits import in_split
from structkd.datasets.points.nuscenes_tables import NuScenesTables
from structkd.errors import ConfigError, DataError
from structkd.evaluation.nuscenes import ATTRIBUTES, CLASSES, NuScenesEvaluation


@pytest.fixture(scope="session")
def writer():
    spec = importlib.util.spec_from_file_location("tables", Path(__file__).with_name("nuscenes_tables.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_tables


@pytest.fixture
def root(tmp_path, writer):
    writer(tmp_path)
    return tmp_path


def test_infos_of_the_tables(root):
    train, val = write_nuscenes_infos(root, "v1.0-mini", show_progress=False)
    assert train.name == "nuscenes_infos_train.pkl"
    frames = NuScenesFrames(root, val.name)
    assert [info.token for info in frames.infos] == ["1s0", "1s1", "1s2"]
    info = frames.infos[1]
    assert [path for path, _, _ in info.sweeps] == [f"sweeps/LIDAR_TOP/1d{i}.pcd.bin" for i in (4, 3)] + [
        "samples/LIDAR_TOP/1d2.pcd.bin",
        "sweeps/LIDAR_TOP/1d1.pcd.bin",
        "sweeps/LIDAR_TOP/1d0.pcd.bin",
    ]
    assert [lag for _, _, lag in info.sweeps] == pytest.approx([0.05, 0.1, 0.5, 0.55, 0.6])
    assert [CLASSES[i] for i in info.labels] == ["car", "bicycle", "traffic_cone"]
    assert info.attribute.tolist() == [ATTRIBUTES.index("vehicle.moving"), -1, -1]
    assert info.num_points.tolist() == [5, 5, 0]
    before = val.read_bytes(), val.stat().st_mtime_ns
    write_nuscenes_infos(root, "v1.0-mini", show_progress=False)
    assert before == (val.read_bytes(), val.stat().st_mtime_ns)


def test_sweeps_of_a_still_wall_fall_on_each_other(root):
    write_nuscenes_infos(root, "v1.0-mini", show_progress=False)
    frames = NuScenesFrames(root, "nuscenes_infos_train.pkl", max_reflectance=255)
    frame = frames[2]
    assert frame.points.shape == (50 * 9, 5) and frame.points.dtype == np.float32
    assert np.unique(frame.points[:, 3]) == 51
    for lag in np.unique(frame.points[:, 4]):
        np.testing.assert_allclose(frame.points[frame.points[:, 4] == lag, :3], frame.points[:50, :3], atol=1e-4)
    world = transform(frame.points[:, :3].astype(np.float64), frames.infos[2].lidar_to_global)
    np.testing.assert_allclose(world[:, 0], 620, atol=1e-3)
    assert len(np.unique(frame.points[:, 4])) == 9 and frame.points[0, 4] == 0
    one = NuScenesFrames(root, "nuscenes_infos_train.pkl", sweeps=1, min_distance=0)[2]
    assert one.points.shape == (57, 5) and one.points[0, 3] == pytest.approx(0.2)
    assert len(NuScenesFrames(root, "nuscenes_infos_train.pkl")[0].points) == 150  # a scene begins with fewer


def test_boxes(root):
    write_nuscenes_infos(root, "v1.0-mini", show_progress=False)
    frames = NuScenesFrames(root, "nuscenes_infos_train.pkl", classes=("traffic_cone", "car"))
    frame = frames[0]
    assert frame.boxes.shape == (2, 9) and frame.labels.tolist() == [1, 0]
    corners = transform(lidar_corners(frame.boxes[:1, :7].astype(np.float64)), frames.infos[0].lidar_to_global)[0]
    assert corners.mean(0) == pytest.approx([610, 1000, 1], abs=1e-4)
    assert np.ptp(corners, axis=0) == pytest.approx([4, 2, 1.5], abs=0.2)  # the LiDAR leans by 2 degrees
    velocity = np.array([*frame.boxes[0, 7:], 0]) @ frames.infos[0].lidar_to_global[:3, :3].T
    assert velocity == pytest.approx([6, 0, 0], abs=0.3)  # 3 m in half a second
    assert frames[1].labels.tolist() == [1]  # the cone has no points
    kept = NuScenesFrames(root, "nuscenes_infos_train.pkl", empty_boxes=True, point_range=(-50, -50, -5, 50, 50, 5))
    assert len(kept[1].boxes) == 3 and np.isfinite(kept[1].boxes).all()
    assert [len(frame.boxes) for frame in frames[1:]] == [1, 1]


def test_labels_of_infos_and_of_tables_agree_but_for_racks(root):
    write_nuscenes_infos(root, "v1.0-mini", show_progress=False)
    tables = NuScenesTables(root, "v1.0-mini")
    exact = table_labels(tables, tables.samples("val"))
    found = NuScenesFrames(root, "nuscenes_infos_val.pkl").labels()
    for name in ("sample", "label", "attribute", "num_points"):
        assert getattr(found, name).tolist() == getattr(exact, name).tolist()
    for name in ("center", "size", "ego"):
        np.testing.assert_allclose(getattr(found, name), getattr(exact, name), atol=1e-9)
    np.testing.assert_allclose(found.velocity, exact.velocity, atol=0.05)
    assert len(exact.racks) == 3
    scored = replace(exact, score=np.ones(len(exact)), num_points=None)
    assert NuScenesEvaluation(exact, scored).num_objects()["bicycle"] == 0
    evaluation = NuScenesEvaluation(found, scored)
    assert evaluation.num_objects()["bicycle"] == 3 and evaluation.results()["mean_dist_aps"]["car"] > 0.99


def test_predictions(root):
    write_nuscenes_infos(root, "v1.0-mini", show_progress=False)
    frames = NuScenesFrames(root, "nuscenes_infos_val.pkl", classes=("car", "traffic_cone"))
    predictions = [dict(boxes=f.boxes, scores=np.full(len(f.boxes), 0.5), labels=f.labels) for f in frames]
    found = to_nuscenes(frames, predictions)
    results = NuScenesEvaluation(frames.labels(), found).results()
    assert results["mean_dist_aps"]["car"] > 0.99
    assert {name: value for name, value in results["label_tp_errors"]["car"].items()} == pytest.approx(
        dict(trans_err=0, scale_err=0, orient_err=0, vel_err=0, attr_err=0), abs=0.05
    )
    many = [dict(boxes=np.ones((600, 7)), scores=np.linspace(0, 1, 600), labels=np.zeros(600, int))] * 3
    most = to_nuscenes(frames, many)
    assert np.bincount(most.sample).tolist() == [500] * 3 and most.score.min() > 0.16
    for wrong, match in (
        ([], "0 frames; expected 3"),
        ([dict(boxes=np.ones((2, 8)), scores=np.ones(2), labels=np.ones(2))] * 3, "7 or 9"),
        ([dict(boxes=np.ones((1, 7)), scores=np.ones(1), labels=np.array([2]))] * 3, "labels from 2"),
    ):
        with pytest.raises(DataError, match=match):
            to_nuscenes(frames, wrong)


def test_real_sample(real_data):
    """One sample of v1.0-mini as mmdet3d's converter describes it."""
    folder = real_data / "nuscenes_sample"
    (path,) = folder.glob("*.pkl")
    frames = NuScenesFrames(folder, path, min_distance=0)
    assert len(frames) == 1 and len(frames.infos[0].boxes) == 68
    frame = frames[0]
    assert frame.points.shape == (34688, 5) and frame.points[:, 3].min() >= 0 and frame.points[:, 3].max() == 1
    # The file counts the points in each box, those of radar too; so do we, but for these and a few on the faces.
    away = frame.points[:, None, :2] - frame.boxes[None, :, :2]
    cos, sin = np.cos(frame.boxes[:, 6]), np.sin(frame.boxes[:, 6])
    along = np.abs(away[..., 0] * cos + away[..., 1] * sin) <= frame.boxes[:, 3] / 2
    across = np.abs(away[..., 1] * cos - away[..., 0] * sin) <= frame.boxes[:, 4] / 2
    up = frame.points[:, None, 2] - frame.boxes[None, :, 2]
    inside = (along & across & (up >= 0) & (up <= frame.boxes[:, 5])).sum(0)
    with_radar = frames.infos[0].num_points
    assert np.median(np.abs(inside - with_radar[with_radar > 0])) <= 1
    assert inside.sum() == pytest.approx(with_radar.sum(), rel=0.1)
    labels = frames.labels()
    scored = replace(labels, score=np.ones(len(labels)))
    assert NuScenesEvaluation(labels, scored).results()["mean_dist_aps"]["pedestrian"] == pytest.approx(1)


def test_splits():
    assert in_split("scene-0003", "val", "v1.0-trainval") and not in_split("scene-0003", "train", "v1.0-trainval")
    assert in_split("scene-0061", "train", "v1.0-mini") and in_split("scene-0103", "mini_val", "v1.0-mini")
    assert in_split("scene-0553", "train", "v1.0-mini") and in_split("scene-0553", "val", "v1.0-trainval")
    assert sum(in_split(f"scene-{i:04d}", "val", "v1.0-trainval") for i in range(1111)) == 150
    assert in_split("scene-0077", "test", "v1.0-test") and not in_split("scene-0077", "test", "v1.0-mini")
    assert in_split("anything", "all", "v1.0-mini")
    with pytest.raises(ConfigError, match="expected one of train"):
        in_split("scene-0003", "vall", "v1.0-mini")


def test_errors_of_tables(root):
    with pytest.raises(DataError, match=r"v1\.0-trainval.*v1\.0-mini"):
        NuScenesTables(root, "v1.0-trainval")
    with pytest.raises(ConfigError, match="no sample of split 'test'"):
        NuScenesTables(root, "v1.0-mini").samples("test")
    with pytest.raises(ConfigError, match="expected one of v1"):
        write_nuscenes_infos(root, "mini")

    def broken(table, change, match):
        path = root / "v1.0-mini" / f"{table}.json"
        text = path.read_text()
        rows = json.loads(text)
        change(rows)
        path.write_text(json.dumps(rows))
        (root / "nuscenes_infos_val.pkl").unlink(missing_ok=True)
        with pytest.raises(DataError, match=match):
            write_nuscenes_infos(root, "v1.0-mini", ["val"], show_progress=False)
        path.write_text(text)

    broken("scene", lambda rows: rows[1].pop("name"), r"scene\.json: row 'scene1' has no name")
    broken("sample", lambda rows: rows[-1].update(next="1s0"), "follows itself")
    broken("sample", lambda rows: rows[-1].update(next="x"), r"no row 'x'")
    broken("sensor", lambda rows: rows.clear(), "no key frame")
    broken("ego_pose", lambda rows: rows[-1].update(rotation=[1, 2]), r"ego_pose\.json: row '1d8' is no pose")
    broken("ego_pose", lambda rows: rows[-1].update(rotation=[0, 0, 0, 0]), "is no pose")
    broken("sample_annotation", lambda rows: rows[-2].update(size=[1, "x", 2]), "size is not 3 finite numbers")
    broken("attribute", lambda rows: rows[0].update(name="flying"), "flying")
    broken("instance", lambda rows: rows.append(3), r"instance\.json is no table")
    (root / "v1.0-mini" / "category.json").unlink()
    with pytest.raises(DataError, match="There is no table"):
        write_nuscenes_infos(root, "v1.0-mini", ["val"], show_progress=False)


def test_errors_of_infos(root):
    (path,) = write_nuscenes_infos(root, "v1.0-mini", ["val"], show_progress=False)

    def broken(change, match):
        infos = pickle.loads(path.read_bytes())
        change(infos["data_list"])
        other = root / "broken.pkl"
        other.write_bytes(pickle.dumps(infos))
        with pytest.raises(DataError, match=match):
            NuScenesFrames(root, other)

    broken(lambda rows: rows[1].pop("token"), r"data_list\[1\] has no .token")
    broken(lambda rows: rows[1].update(token="1s0"), "twice")
    broken(lambda rows: rows[1].update(ego2global=[[1]]), "ego2global is")
    broken(lambda rows: rows[1].update(ego2global=np.diag([1, 1, 2, 1]).tolist()), "no rotation")
    broken(lambda rows: rows[1].update(timestamp=1e15), "s before its sample")
    broken(lambda rows: rows[1]["instances"][0].update(bbox_3d=[0, 0, 0, 1, -1, 1, 0]), "size is not positive")
    broken(lambda rows: rows[1]["instances"][0].update(bbox_3d=3), "wrong type or shape")
    broken(lambda rows: rows[1]["instances"][0].update(attr_label=99), "attr_label")
    broken(lambda rows: rows.clear(), "empty data_list")
    frames = NuScenesFrames(root, path)
    (root / "samples" / "LIDAR_TOP" / "1d2.pcd.bin").unlink()
    with pytest.raises(DataError, match="There is no scan 1d2"):
        frames[0]
    for arguments in (dict(sweeps=0), dict(classes=["Car"]), dict(classes="car"), dict(max_reflectance=0)):
        with pytest.raises(ConfigError):
            NuScenesFrames(root, path, **arguments)
