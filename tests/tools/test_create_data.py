import numpy as np
import pytest

from structkd.datasets import GTDatabase, KittiFrames
from structkd.datasets.points.infos import read_infos
from structkd.datasets.points.kitti_files import format_objects
from structkd.evaluation.kitti import KittiObjects

CALIBRATION = (
    "P2: 700 0 600 0 0 700 180 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0\n"
)


@pytest.fixture
def root(tmp_path):
    """Four labelled frames with a car 12 m ahead, and one without labels."""
    rng = np.random.default_rng(0)
    for part, names in (("training", ["000000", "000001", "000002", "000003"]), ("testing", ["000000"])):
        for name in names:
            for folder in ("velodyne", "calib", "label_2"):
                (tmp_path / part / folder).mkdir(parents=True, exist_ok=True)
            points = rng.uniform([8, -12, -1.7, 0], [16, 12, 1, 1], (4000, 4)).astype("<f4")
            (tmp_path / part / "velodyne" / f"{name}.bin").write_bytes(points.tobytes())
            (tmp_path / part / "calib" / f"{name}.txt").write_text(CALIBRATION)
            box = np.array([[0.0, 1.7, 12, 4, 1.6, 1.7, 0.1]])
            label = KittiObjects.from_boxes(["Car"], box, np.array([[500.0, 100, 700, 200]]), truncated=0, occluded=0)
            (tmp_path / part / "label_2" / f"{name}.txt").write_text(format_objects(label))
    for path in (tmp_path / "testing" / "label_2").iterdir():
        path.unlink()
    (tmp_path / "testing" / "label_2").rmdir()
    (tmp_path / "ImageSets").mkdir()
    for split, names in (("train", "000000\n000002\n"), ("val", "000001\n"), ("test", "000000\n")):
        (tmp_path / "ImageSets" / f"{split}.txt").write_text(names)
    return tmp_path


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_kitti(command, root):
    before = KittiFrames(root)[0]
    done = command("create_data", "kitti", root)
    assert done.code == 0, done.err
    assert [line.rsplit("/", 1)[1] for line in done.out.splitlines()] == [
        "kitti_infos_test.pkl",
        "kitti_infos_train.pkl",
        "kitti_infos_val.pkl",
        "kitti_dbinfos_train.pkl",
    ]
    assert sorted(path.stem for path in (root / "training" / "velodyne_reduced").iterdir()) == [
        "000000",
        "000001",
        "000002",
    ]
    assert (root / "testing" / "velodyne_reduced" / "000000.bin").is_file()
    after = KittiFrames(root)[0]
    assert np.array_equal(before.points, after.points) and 0 < len(after.points) < 4000
    frames = KittiFrames(root, infos=root / "kitti_infos_val.pkl")
    assert frames.frame_ids == ["000001"] and np.allclose(frames[0].boxes, KittiFrames(root, "val")[0].boxes)
    database = GTDatabase.read(root / "kitti_dbinfos_train.pkl")
    assert len(database) == 2 and (database.num_points > 10).all()
    metainfo, data_list = read_infos(root / "kitti_infos_train.pkl")
    assert metainfo["categories"]["Car"] == 2 and metainfo["info_version"] == "1.1"
    assert [info["sample_idx"] for info in data_list] == [0, 2]
    assert data_list[0]["instances"][0]["num_lidar_pts"] == database.num_points[0]


def test_a_second_run_changes_nothing(command, root):
    command("create_data", "kitti", root)
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert command("create_data", "kitti", root).code == 0
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == times


def test_an_interrupted_run_is_taken_up(command, root, monkeypatch):
    from structkd.datasets.points import prepare

    real, written = prepare.atomic_write_bytes, []

    def breaks(path, *rest, **more):
        if len(written) == 7:
            raise KeyboardInterrupt
        written.append(path)
        return real(path, *rest, **more)

    monkeypatch.setattr(prepare, "atomic_write_bytes", breaks)
    stopped = command("create_data", "kitti", root)
    assert stopped.code == 130 and "goes on" in stopped.err
    assert not (root / "kitti_dbinfos_train.pkl").exists()
    monkeypatch.setattr(prepare, "atomic_write_bytes", real)
    assert command("create_data", "kitti", root).code == 0
    taken_up = tree(root)
    for path in [*written, root / "kitti_dbinfos_train.pkl"]:
        path.unlink(missing_ok=True)
    command("create_data", "kitti", root)
    assert tree(root) == taken_up


def test_own_frames_without_split_files(command, root):
    for path in (root / "ImageSets").iterdir():
        path.unlink()
    refused = command("create_data", "kitti", root)
    assert refused.code == 2 and "--splits all --database all" in refused.err and "Traceback" not in refused.err
    assert command("create_data", "kitti", root, "--splits", "all", "--database", "all").code == 0
    assert len(KittiFrames(root, infos=root / "kitti_infos_all.pkl")) == 4
    assert len(GTDatabase.read(root / "kitti_dbinfos_all.pkl")) == 4


def test_damaged_frames_are_named(command, root):
    (root / "training" / "label_2" / "000002.txt").write_text("Car 1 2 3\n")
    done = command("create_data", "kitti", root)
    assert done.code == 2 and "000002.txt, line 1" in done.err and "Traceback" not in done.err
    assert command("create_data", "kitti", root / "nothing").code == 2


def test_simulate(command, tmp_path, open3d):
    done = command("create_data", "simulate", tmp_path, "--train", 3, "--val", 1, "--seed", 4, "--statistics")
    assert done.code == 0 and "frames: 4 of 4" in done.err and "points a frame" in done.out
    folder = done.out.splitlines()[0]
    assert len(KittiFrames(folder)) == 3 and len(KittiFrames(folder, "val")) == 1
    assert command("create_data", "kitti", folder).code == 0
    assert len(GTDatabase.build(KittiFrames(folder))) == len(GTDatabase.read(f"{folder}/kitti_dbinfos_train.pkl"))
    assert command("create_data", "simulate", tmp_path, "--train", -3).code == 2


def test_help(command):
    for arguments in (["--help"], ["kitti", "--help"], ["simulate", "--help"]):
        done = command("create_data", *arguments)
        assert done.code == 0 and ("simulate" if arguments == ["--help"] else "ROOT") in done.out
    assert command("create_data").code == 2
