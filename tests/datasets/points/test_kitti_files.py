import numpy as np
import pytest

from structkd.datasets.points.kitti_files import (
    read_calibration,
    read_labels,
    read_points,
    read_results,
    read_split,
    write_objects,
)
from structkd.errors import DataError
from structkd.evaluation.kitti import KittiObjects

CAR = "Car 0.00 0 -1.56 564.62 174.59 616.43 224.74 1.61 1.66 3.20 -0.69 1.69 25.01 -1.59"
DONT_CARE = "DontCare -1 -1 -10 753.33 164.32 798.00 186.74 -1 -1 -1 -1000 -1000 -1000 -10"
#: The tracking benchmark's order of the same filling.
TRACKED = "DontCare -1 -1 -10 753.33 164.32 798.00 186.74 -1000 -1000 -1000 -10 -1 -1 -1"
CALIBRATION = """P0: 1 0 0 0 0 1 0 0 0 0 1 0
P2: 700 0 600 45 0 700 170 0.2 0 0 1 0.003
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 -0.004 0 0 -1 -0.076 1 0 0 -0.272
"""


@pytest.fixture
def write(tmp_path):
    def write(content, name="000042.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_labels(write):
    labels = read_labels(write(f"{CAR}\n\n{DONT_CARE}\r\n"))
    assert labels.type.tolist() == ["Car", "DontCare"] and labels.score is None
    assert labels.camera_boxes[0].tolist() == [-0.69, 1.69, 25.01, 3.2, 1.61, 1.66, -1.59]
    assert labels.image_boxes[1].tolist() == [753.33, 164.32, 798, 186.74]
    assert labels.dont_care.tolist() == [False, True]
    assert labels.occluded.tolist() == [0, -1] and labels.alpha.tolist() == [-1.56, -10]


def test_dont_care_is_filled_as_in_the_object_benchmark(write):
    assert np.array_equal(read_labels(write(TRACKED)).rows, read_labels(write(DONT_CARE)).rows)


def test_results(write):
    results = read_results(write(f"{CAR} 0.75\nCar -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10 1e-3"))
    assert results.score.tolist() == [0.75, 0.001]
    flat = CAR.replace("1.66", "0")
    assert read_results(write(f"{flat} 0.75")).camera_boxes[0, 5] == 0


@pytest.mark.parametrize("content", ["", "\n", "  \n\n"])
def test_frames_without_objects(write, content):
    path = write(content)
    assert len(read_labels(path)) == 0 and len(read_results(path)) == 0
    assert read_results(path).score.shape == (0,)


def test_written_objects_are_read_back(write, tmp_path):
    labels = read_labels(write(f"{CAR}\n{DONT_CARE}"))
    write_objects(tmp_path / "copy.txt", labels)
    copy = read_labels(tmp_path / "copy.txt")
    assert copy.type.tolist() == labels.type.tolist() and np.allclose(copy.rows, labels.rows)
    scored = KittiObjects(labels.type, labels.rows, np.array([0.123456, 1]))
    write_objects(tmp_path / "copy.txt", scored)
    assert read_results(tmp_path / "copy.txt").score.tolist() == [0.123456, 1]
    write_objects(tmp_path / "copy.txt", labels[:0])
    assert len(read_labels(tmp_path / "copy.txt")) == 0


@pytest.mark.parametrize(
    "line, expected",
    [
        ("Car 0 0", "line 2 has 3 columns; a label has 15: type, truncated"),
        (f"{CAR} 0.5", "line 2 has 16 columns; a label has 15"),
        (CAR.replace("25.01", "near"), "line 2: z is 'near'; expected a finite number"),
        (CAR.replace("25.01", "nan"), "line 2: z is 'nan'"),
        (CAR.replace("564.62", "inf"), "line 2: x1 is 'inf'"),
        (CAR.replace("3.20", "0"), "line 2 has 1.61 1.66 0; expected a positive height, width and length"),
        (CAR.replace("1.61", "-1"), "expected a positive height"),
        (CAR.replace("616.43", "500"), "line 2 has 564.62 174.59 500 224.74; expected a 2D box"),
    ],
)
def test_malformed_labels(write, line, expected):
    path = write(f"{DONT_CARE}\n{line}\n")
    with pytest.raises(DataError) as error:
        read_labels(path)
    assert str(path) in str(error.value) and expected in str(error.value)


@pytest.mark.parametrize(
    "line, expected",
    [
        (CAR, "line 1 has 15 columns; a result has 16, the last its score"),
        (f"{CAR} high", "line 1: score is 'high'"),
        (f"{CAR.replace('1.66', '-0.5')} 1", "expected a height, width and length of 0 or more"),
    ],
)
def test_malformed_results(write, line, expected):
    with pytest.raises(DataError, match=expected):
        read_results(write(line))


def test_points(write):
    points = np.arange(12, dtype=np.float32).reshape(3, 4)
    path = write(points.tobytes(), "000042.bin")
    assert np.array_equal(read_points(path), points) and read_points(path).flags.writeable
    assert read_points(path, columns=3).shape == (4, 3)
    assert read_points(write(b"", "empty.bin")).shape == (0, 4)
    with pytest.raises(DataError, match=r"cut.bin has 47 bytes; expected a multiple of 16.*cut short"):
        read_points(write(points.tobytes()[:-1], "cut.bin"))
    points[1, 2], points[2, 0] = np.nan, np.inf
    with pytest.raises(DataError, match=r"2 points that are not finite, the first at row 1 \(4 5 nan 7\)"):
        read_points(write(points.tobytes(), "nan.bin"))


def test_calibration(write):
    calibration = read_calibration(write(CALIBRATION))
    assert calibration.projection[0].tolist() == [700, 0, 600, 45]
    # Ten metres ahead, two to the left, one up.
    place = calibration.lidar_to_camera @ [10, 2, 1, 1]
    assert place == pytest.approx([-2.004, -1.076, 9.728, 1])


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("P2: 700", "P2:", "line 2: P2 has 11 numbers; expected 12"),
        ("P2", "P5", "has no line P2"),
        ("-0.272", "x", "line 4: Tr_velo_to_cam is 'x'"),
        ("0.003", "nan", "line 2: P2 is 'nan'"),
        ("R0_rect: 1 0 0", "R0_rect: 0 0 0", "line 3: R0_rect is no rotation"),
        ("R0_rect: 1", "R0_rect: -1", "line 3: R0_rect is no rotation"),
        ("0 -1 0 -0.004", "0 -2 0 -0.004", "line 4: Tr_velo_to_cam is no rotation"),
    ],
)
def test_malformed_calibration(write, old, new, expected):
    with pytest.raises(DataError, match=expected):
        read_calibration(write(CALIBRATION.replace(old, new, 1)))


def test_split(write):
    assert read_split(write("000001\n000005\r\n\n000003")) == ["000001", "000005", "000003"]
    for content, expected in (
        ("", "is empty"),
        ("000001\n000002 x\n", "line 2 is '000002 x'"),
        ("000001\n../1", "line 2"),
        ("000001\n\n000001", "line 3 repeats frame 000001 of line 1"),
    ):
        with pytest.raises(DataError, match=expected):
            read_split(write(content))


@pytest.mark.parametrize("read", [read_labels, read_results, read_points, read_calibration, read_split])
def test_missing_file(read, tmp_path):
    with pytest.raises(DataError, match=r"There is no file .*000042"):
        read(tmp_path / "000042")
    with pytest.raises(DataError, match="There is no file"):
        read(tmp_path)


@pytest.mark.parametrize("read", [read_labels, read_results, read_calibration, read_split])
def test_binary_instead_of_text(read, write):
    with pytest.raises(DataError, match="no text file: byte 1 "):
        read(write(b"a\xff\xfe\x00"))
