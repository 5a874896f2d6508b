"""A folder with one file damaged at random: every frame is what it should be, or a DataError names the file."""

import pickle
import shutil

import numpy as np
import pytest

from structkd.datasets import GTDatabase, KittiFrames, Scenes
from structkd.datasets.pickles import read_pickle
from structkd.datasets.points.kitti_infos import read_kitti_infos
from structkd.datasets.points.prepare import write_gt_database, write_infos
from structkd.errors import DataError

#: A damaged pickle may ask for a memo of 64 GB through this opcode, and Python would give it.
NOT_WRITTEN = pickle.LONG_BINPUT


def damaged(content, rng):
    """Cut, with bytes changed, with a piece doubled or left out, or empty."""
    content = bytearray(content)
    kind = rng.integers(5)
    at = int(rng.integers(len(content) + 1))
    size = int(rng.integers(1, 40))
    if kind == 0:
        del content[at:]
    elif kind == 1:
        for place in rng.integers(len(content), size=size):
            content[place] = rng.integers(256)
    elif kind == 2:
        content[at:at] = content[at : at + size]
    elif kind == 3:
        del content[at : at + size]
    else:
        content[at:at] = rng.choice([b"nan", b"\n", b" ", b"-", b"1e400", b"\xff", b"\0\0\xc0\x7f", b"inf "])
    return bytes(content)


def check(frames):
    for i in range(len(frames)):
        frame = frames[i]
        assert np.isfinite(frame.points).all() and np.isfinite(frame.boxes).all()
        assert (frame.boxes[:, 3:6] > 0).all() and ((frame.labels >= 0) & (frame.labels < 3)).all()
        Scenes.from_frames([frame])
        frames.annotations(i)


@pytest.mark.parametrize(
    "name",
    [
        "training/velodyne/000000.bin",
        "training/label_2/000000.txt",
        "training/label_2/000001.txt",
        "training/calib/000001.txt",
        "ImageSets/train.txt",
    ],
)
def test_plain_files(kitti_root, name):
    rng = np.random.default_rng(0)
    path, refused = kitti_root / name, 0
    content = path.read_bytes()
    for _ in range(150):
        path.write_bytes(damaged(content, rng))
        try:
            check(KittiFrames(kitti_root))
        except DataError as error:
            refused += 1
            # A damaged list of ids names the frames that are not there.
            assert str(path) in str(error) or (name.startswith("Image") and "There is no file" in str(error)), error
            assert len(str(error)) < 900
    assert refused > 20


def damaged_pickles(content, rng, number=400):
    for _ in range(number):
        new = damaged(content, rng)
        if new.count(NOT_WRITTEN) <= content.count(NOT_WRITTEN):
            yield new


def test_infos(kitti_root):
    path = write_infos(kitti_root, "train", show_progress=False)
    content, refused, rng = path.read_bytes(), 0, np.random.default_rng(1)
    for new in damaged_pickles(content, rng):
        path.write_bytes(new)
        try:
            for info in read_kitti_infos(path):
                assert np.isfinite(info.objects.rows).all()
        except DataError as error:
            refused += 1
            assert str(path) in str(error) and len(str(error)) < 900
    assert refused > 100


def test_database(kitti_root):
    path = write_gt_database(kitti_root, show_progress=False)
    content, refused, rng = path.read_bytes(), 0, np.random.default_rng(2)
    for new in damaged_pickles(content, rng):
        path.write_bytes(new)
        try:
            whole = GTDatabase.read(path)
            for row in range(len(whole)):
                assert whole.points(row).shape[1] == 4
        except DataError as error:
            refused += 1
            assert str(kitti_root) in str(error) and len(str(error)) < 900
    assert refused > 100


def test_noise_is_no_pickle(tmp_path):
    rng = np.random.default_rng(3)
    for size in [0, 1, 2, 5, *range(10, 300, 10)]:
        content = bytes(rng.integers(256, size=size, dtype=np.uint8)).replace(NOT_WRITTEN, b"")
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(DataError, match=r"no readable pickle|asks for"):
            read_pickle(tmp_path / "x")


def test_an_empty_scan_is_a_frame(kitti_root):
    (kitti_root / "training" / "velodyne" / "000000.bin").write_bytes(b"")
    (kitti_root / "training" / "label_2" / "000001.txt").write_bytes(b"")
    frames = KittiFrames(kitti_root)
    assert len(frames[0].points) == 0 and len(frames[0].boxes) == 2
    assert len(frames[1].points) > 0 and len(frames[1].boxes) == 0
    assert Scenes.from_frames([frames[0], frames[1]]).num_scenes == 2
    assert GTDatabase.build(frames).num_points.tolist() == [0, 0]


def test_a_folder_in_place_of_a_file(kitti_root):
    path = kitti_root / "training" / "calib" / "000000.txt"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"calib/000000\.txt"):
        KittiFrames(kitti_root)[0]
    shutil.rmtree(kitti_root / "training" / "velodyne")
    with pytest.raises(DataError, match="velodyne"):
        KittiFrames(kitti_root)
