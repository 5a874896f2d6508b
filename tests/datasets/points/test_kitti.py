import struct

import numpy as np
import pytest

from structkd.datasets import KittiFrames
from structkd.datasets.points.images import image_size
from structkd.errors import ConfigError, DataError


def png(width, height):
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + struct.pack(">II", width, height) + b"\x08\x02\0\0\0"
    )


def jpeg(width, height):
    comment = b"\xff\xfe" + struct.pack(">H", 6) + b"\xff\xc0\0\0"  # what looks like a size within a comment
    table = b"\xff\xc4" + struct.pack(">H", 4) + b"\1\2"
    return b"\xff\xd8" + comment + table + b"\xff\xff\xc2" + struct.pack(">HBHH", 11, 8, height, width) + b"\3"


def test_frames(kitti_root):
    frames = KittiFrames(kitti_root)
    assert frames.frame_ids == ["000000", "000001"] and len(frames) == 2
    frame = frames[0]
    assert frame.points.dtype == np.float32 and frame.boxes.dtype == np.float32 and frame.labels.tolist() == [0, 1]
    # 15 m ahead, 6 m to the left, on the ground; 40 points were put into each.
    assert frame.boxes[0, :3] == pytest.approx([15, 6, -1.7], abs=1e-3)
    assert frame.boxes[:, 3:6] == pytest.approx(np.tile([3.9, 1.6, 1.5], (2, 1)), abs=1e-3)
    assert frame.image_size == (1242, 375) and frame.frame_id == "000000" and frame.calibration is not None
    from structkd.datasets.points.gt_database import cut_out

    assert [len(part) for part in cut_out(frame.points, frame.boxes)] == [40, 40]


def test_classes_are_those_asked_for_in_that_order(kitti_root):
    frames = KittiFrames(kitti_root, classes=("Cyclist", "Car"))
    assert frames[1].labels.tolist() == [0, 1]  # written "cyclist" in the file; the van is left out
    assert frames.annotations(1).type.tolist() == ["Van", "cyclist", "Car", "DontCare"]
    assert len(KittiFrames(kitti_root, "val")[0].labels) == 0


def test_camera_view(kitti_root):
    whole, seen = KittiFrames(kitti_root, camera_view=False)[0], KittiFrames(kitti_root)[0]
    x, y, z = whole.points[:, :3].T
    u, v = 600 - 700 * y / x, 180 - 700 * z / x
    inside = (u >= 0) & (u < 1242) & (v >= 0) & (v < 375)
    assert 0 < inside.sum() < len(inside) and np.array_equal(seen.points, whole.points[inside])


def test_reduced_scans_are_read_where_there_are_some(kitti_root):
    folder = kitti_root / "training" / "velodyne_reduced"
    folder.mkdir()
    (folder / "000000.bin").write_bytes(np.array([10, 0, 0, 0.5], "<f4").tobytes())
    frames = KittiFrames(kitti_root)
    assert frames[0].points.tolist() == [[10, 0, 0, 0.5]] and len(frames[1].points) > 100
    assert len(KittiFrames(kitti_root, camera_view=False)[0].points) == 280


def test_point_range(kitti_root):
    frame = KittiFrames(kitti_root, point_range=(0, 0, -3, 14.9, 20, 10))[0]
    assert (frame.points[:, 0] < 14.9).all() and (frame.points[:, 1] >= 0).all() and len(frame.boxes) == 0
    assert KittiFrames(kitti_root, point_range=(0, 1, -3, 20, 20, 1))[0].labels.tolist() == [0]
    with pytest.raises(ConfigError, match="point_range"):
        KittiFrames(kitti_root, point_range=(0, 0, 0, 0, 1, 1))


def test_all_takes_every_frame(kitti_root):
    assert KittiFrames(kitti_root, "all").frame_ids == ["000000", "000001", "000002"]
    assert KittiFrames(kitti_root / "training", "all").frame_ids == ["000000", "000001", "000002"]


def test_test_split_has_no_labels(kitti_root):
    frames = KittiFrames(kitti_root, "test")
    assert frames.folder == kitti_root / "testing" and not frames.labelled and len(frames[0].boxes) == 0
    with pytest.raises(DataError, match="label_2"):
        frames.annotations(0)


def test_slices_and_iteration(kitti_root):
    frames = KittiFrames(kitti_root, "all")
    assert [frame.frame_id for frame in frames] == frames.frame_ids
    assert [frame.frame_id for frame in frames[1:]] == ["000001", "000002"] and frames[-1].frame_id == "000002"
    with pytest.raises(IndexError):
        frames[3]


def test_image_size(kitti_root, tmp_path):
    folder = kitti_root / "training" / "image_2"
    folder.mkdir()
    (folder / "000000.png").write_bytes(png(1224, 370))
    (folder / "000001.jpg").write_bytes(jpeg(640, 480))
    frames = KittiFrames(kitti_root, "all")
    assert [frames.image_size(i) for i in range(3)] == [(1224, 370), (640, 480), (1242, 375)]
    for content in (b"", png(3, 4)[:20], png(0, 4), jpeg(3, 4)[:-6], b"GIF89a", jpeg(3, 4)[:4]):
        (tmp_path / "bad.png").write_bytes(content)
        with pytest.raises(DataError, match=r"bad\.png"):
            image_size(tmp_path / "bad.png")


def test_errors(kitti_root, tmp_path):
    with pytest.raises(DataError, match=r"no split file .*trainval\.txt; there are test, train, val"):
        KittiFrames(kitti_root, "trainval")
    with pytest.raises(DataError, match="velodyne; expected KITTI's layout"):
        KittiFrames(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="classes"):
        KittiFrames(kitti_root, classes=("Car", "car"))
    with pytest.raises(ConfigError, match="classes"):
        KittiFrames(kitti_root, classes="Car")
    for folder, suffix in (("label_2", "txt"), ("calib", "txt"), ("velodyne", "bin")):
        path = kitti_root / "training" / folder / f"000001.{suffix}"
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(DataError, match=rf"{folder}/000001\.{suffix}; 1 of 2 frames"):
            KittiFrames(kitti_root)
        path.write_bytes(content)


def test_no_split_file_at_all_says_what_to_do(kitti_root):
    for path in (kitti_root / "ImageSets").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"none at all.*split='all'"):
        KittiFrames(kitti_root)
