import pickle

import numpy as np
import pytest

from structkd.datasets import GTDatabase, KittiFrames
from structkd.datasets.points.infos import read_infos
from structkd.datasets.points.kitti_infos import difficulty, read_kitti_infos
from structkd.datasets.points.prepare import METAINFO, write_infos
from structkd.errors import DataError
from structkd.evaluation.kitti import KittiObjects


def entry(**changes):
    """One frame as mmdet3d 1.x writes it, with an object of each kind."""
    camera = dict(cam2img=np.eye(4).tolist(), lidar2cam=np.eye(4).tolist(), height=370, width=1224, img_path="7.png")
    instance = dict(
        bbox=[10.0, 20, 30, 90],
        bbox_label=2,
        bbox_3d=[1.0, 1.7, 20, 3.9, 1.5, 1.6, 0.3],
        truncated=0.1,
        occluded=1,
        alpha=0.2,
    )
    unknown = instance | dict(bbox_label=-1, bbox_3d=[-1000.0, -1000, -1000, -1, -1, -1, -10])
    images = dict(CAM2=camera, R0_rect=np.eye(4).tolist())
    return dict(sample_idx=7, images=images, instances=[instance, unknown]) | changes


def dump(path, data_list, metainfo=METAINFO, protocol=4):
    path.write_bytes(pickle.dumps({"metainfo": metainfo, "data_list": data_list}, protocol))
    return path


def test_read_kitti_infos(tmp_path):
    (info,) = read_kitti_infos(dump(tmp_path / "i.pkl", [entry()]))
    assert info.frame_id == "000007" and info.image_size == (1224, 370)
    assert info.objects.type.tolist() == ["Car", "DontCare"]
    assert info.objects.rows[0].tolist() == [0.1, 1, 0.2, 10, 20, 30, 90, 1.5, 1.6, 3.9, 1, 1.7, 20, 0.3]
    assert info.objects.rows[1].tolist() == [-1, -1, -10, 10, 20, 30, 90, -1, -1, -1, -1000, -1000, -1000, -10]
    assert info.calibration.projection.shape == (3, 4) and info.calibration.lidar_to_camera.shape == (4, 4)


def test_what_is_written_is_read(kitti_root):
    infos = write_infos(kitti_root, "train", show_progress=False)
    plain, read = KittiFrames(kitti_root), KittiFrames(kitti_root, infos=infos)
    assert read.frame_ids == plain.frame_ids and read.annotations(0).type.tolist() == plain.annotations(0).type.tolist()
    for i in range(2):
        # "cyclist" is none of mmdet3d's names, so it is DontCare there.
        known = plain.annotations(i).type != "cyclist"
        assert np.array_equal(read.annotations(i).rows[known], plain.annotations(i).rows[known])
        assert np.allclose(read.calibration(i).lidar_to_camera, plain.calibration(i).lidar_to_camera)
        assert np.array_equal(read[i].points, plain[i].points)
    assert np.allclose(read[0].boxes, plain[0].boxes) and np.array_equal(read[0].labels, plain[0].labels)
    _, data_list = read_infos(infos)
    assert [instance["num_lidar_pts"] for instance in data_list[0]["instances"]] == [40, 40, -1]
    assert [instance["difficulty"] for instance in data_list[0]["instances"]] == [0, 0, -1]
    assert data_list[0]["lidar_points"]["lidar_path"] == "000000.bin"


def test_infos_of_frames_without_labels(kitti_root):
    (info,) = read_kitti_infos(write_infos(kitti_root, "test", show_progress=False))
    assert len(info.objects) == 0


def test_difficulty():
    rows = np.zeros((7, 14))
    rows[:, 6] = [41, 40, 26, 26, 26, 25, 100]  # pixels high
    rows[:, 1] = [0, 0, 1, 2, 3, 0, 0]
    rows[:, 0] = [0.1, 0.1, 0.3, 0.5, 0, 0, 0.6]
    assert difficulty(KittiObjects(np.array(["Car"] * 7), rows)).tolist() == [0, 1, 1, 2, -1, -1, -1]


def test_old_infos_are_refused_with_advice(tmp_path):
    for old in ([entry()], {"infos": [], "metadata": {}}):
        path = tmp_path / "old.pkl"
        path.write_bytes(pickle.dumps(old))
        with pytest.raises(DataError, match=r"old\.pkl is an info file of mmdet3d 0\.x.*create_data\.py"):
            read_infos(path)


NAN = float("nan")
WRONG = {
    "no images": entry(images={}),
    "no size": entry(images=dict(CAM2=dict(cam2img=np.eye(4).tolist(), lidar2cam=np.eye(4).tolist()))),
    "a word": entry(sample_idx="seven"),
    "instances": entry(instances=[3]),
    "none": entry(instances=None),
    "size": entry(instances=[entry()["instances"][0] | dict(bbox_3d=[1, 1, 1, 0, 1, 1, 0])]),
    "nan": entry(instances=[entry()["instances"][0] | dict(bbox_3d=[1, 1, NAN, 1, 1, 1, 0])]),
    "short": entry(instances=[entry()["instances"][0] | dict(bbox=[1, 2, 3])]),
    "list label": entry(instances=[entry()["instances"][0] | dict(bbox_label=[2])]),
    "matrix": entry(images=dict(CAM2=entry()["images"]["CAM2"] | dict(lidar2cam=[[1, 2], [3]]))),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_entries_are_named(tmp_path, wrong):
    path = dump(tmp_path / "i.pkl", [entry(sample_idx=1), WRONG[wrong]])
    with pytest.raises(DataError, match=r"i\.pkl: data_list\[1\]"):
        read_kitti_infos(path)


def test_wrong_files(tmp_path):
    for data_list, metainfo, match in (
        ([3], METAINFO, r"data_list\[0\] is a int"),
        ({}, METAINFO, "data_list a list"),
        ([], METAINFO, "empty data_list"),
        ([entry(), entry()], METAINFO, "twice"),
        ([entry()], {}, "no categories"),
        ([entry()], {"categories": {"Car": "x"}}, "no categories"),
    ):
        with pytest.raises(DataError, match=match):
            read_kitti_infos(dump(tmp_path / "i.pkl", data_list, metainfo))
    with pytest.raises(DataError, match=r"no file .*none\.pkl"):
        read_infos(tmp_path / "none.pkl")
    with pytest.raises(DataError, match="holds a str"):
        (tmp_path / "s.pkl").write_bytes(pickle.dumps("x"))
        read_infos(tmp_path / "s.pkl")


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"Car": 3},
        {"Car": [3]},
        {"Car": [dict(box3d_lidar=[1] * 7, path="x", difficulty=0)]},
        {"Car": [dict(box3d_lidar=[1] * 6, path="x", num_points_in_gt=3)]},
        {"Car": [dict(box3d_lidar=[NAN] * 7, path="x", num_points_in_gt=3)]},
        {"Car": [dict(box3d_lidar="x", path="x", num_points_in_gt=3)]},
        {"Car": [dict(box3d_lidar=[1] * 7, path="x", num_points_in_gt="many")]},
    ],
)
def test_wrong_databases(tmp_path, value):
    path = tmp_path / "db.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match=r"db\.pkl"):
        GTDatabase.read(path)


def test_missing_points_of_a_database(tmp_path):
    path = tmp_path / "db.pkl"
    one = dict(box3d_lidar=np.ones(7), path="gone.bin", num_points_in_gt=3)
    path.write_bytes(pickle.dumps({"Car": [one]}))
    whole = GTDatabase.read(path)
    assert len(whole) == 1 and whole.difficulty.tolist() == [0]
    with pytest.raises(DataError, match=r"gone\.bin"):
        whole.points(0)
