"""Whatever a file holds: a reader returns what it documents, or raises a DataError that names the file."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from structkd.datasets.points.kitti_files import (
    read_calibration,
    read_labels,
    read_points,
    read_results,
    read_split,
    write_objects,
)
from structkd.errors import DataError
from structkd.evaluation.kitti import KittiEvaluation, KittiObjects

fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

GOOD_LINE = "Car 0.00 0 -1.56 564.62 174.59 616.43 224.74 1.61 1.66 3.20 -0.69 1.69 25.01 -1.59 0.9"
ODD_CELLS = ["nan", "-inf", "1e400", "", "0", "-1", "0x10", "1,5", "--3", "DontCare", "\t", "1_0", "٣", "\x00", "Car"]
NUMBERS = st.floats(-1000, 1000).map(lambda value: f"{value:.3f}")
CELLS = st.one_of(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(ODD_CELLS), st.text(max_size=5))
KINDS = st.sampled_from(["Car", "Van", "DontCare", "dontcare", "", "Person sitting"])


@st.composite
def tables(draw):
    """Lines that look like those of labels and results, here and there broken."""
    lines = draw(st.lists(st.tuples(KINDS, st.lists(CELLS, min_size=13, max_size=16)), max_size=4))
    return "\n".join(" ".join([kind, *cells]) for kind, cells in lines).encode("utf-8", "surrogatepass")


@st.composite
def nearly_right(draw):
    """A good label line with up to two cells replaced, and perhaps cut."""
    cells = GOOD_LINE.split()[: draw(st.sampled_from([15, 16]))]
    for _ in range(draw(st.integers(0, 2))):
        cells[draw(st.integers(0, len(cells) - 1))] = draw(CELLS)
    line = " ".join(cells).encode("utf-8", "surrogatepass")
    return line[: draw(st.integers(0, len(line)))] if draw(st.booleans()) else line


CONTENT = st.one_of(st.binary(max_size=200), tables(), nearly_right())


def read_or_refuse(read, path, content):
    path.write_bytes(content)
    try:
        return read(path)
    except DataError as error:
        assert str(path) in str(error) and len(str(error)) < 700
        return None


@pytest.mark.parametrize("read", [read_labels, read_results])
@fuzz
@given(content=CONTENT)
def test_objects(read, content, tmp_path):
    objects = read_or_refuse(read, tmp_path / "objects.txt", content)
    if objects is None:
        return
    assert objects.rows.shape == (len(objects), 14) and np.isfinite(objects.rows).all()
    assert (objects.image_height >= 0).all()
    if read is read_labels:
        sizes = objects.camera_boxes[~objects.dont_care, 3:6]
        assert (sizes > 0).all() and objects.score is None
    else:
        assert np.isfinite(objects.score).all()
        # What was read can be evaluated and written.
        results = KittiEvaluation([KittiObjects(objects.type, objects.rows)], [objects]).results()
        for metrics in results.values():
            for averages in filter(None, metrics.values()):
                assert all(0 <= value <= 100 for value in [*averages["AP40"], *averages["AP11"]])
        write_objects(tmp_path / "copy.txt", objects)
        assert read_results(tmp_path / "copy.txt").type.tolist() == objects.type.tolist()


@fuzz
@given(content=st.binary(max_size=100), columns=st.integers(1, 6))
def test_points(content, columns, tmp_path):
    points = read_or_refuse(lambda path: read_points(path, columns), tmp_path / "scan.bin", content)
    if points is not None:
        assert points.dtype == np.float32 and points.nbytes == len(content) and np.isfinite(points).all()


@fuzz
@given(
    rotation=st.lists(CELLS, min_size=8, max_size=10),
    projection=st.lists(CELLS, min_size=11, max_size=13),
    noise=st.one_of(st.just(""), st.text(max_size=20)),
)
def test_calibration(rotation, projection, noise, tmp_path):
    identity = "1 0 0 0 1 0 0 0 1"
    text = (
        f"{noise}\nP2: {' '.join(projection)}\n"
        f"R0_rect: {' '.join(rotation) if noise else identity}\nTr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0\n"
    )
    path = tmp_path / "calibration.txt"
    calibration = read_or_refuse(read_calibration, path, text.encode("utf-8", "surrogatepass"))
    if calibration is not None:
        assert np.isfinite(calibration.projection).all()
        assert abs(np.linalg.det(calibration.lidar_to_camera) - 1) < 1e-2


@fuzz
@given(
    content=st.one_of(
        st.binary(max_size=60),
        st.lists(st.sampled_from(["000001", "7", "a b", "", "../x"])).map(lambda lines: "\n".join(lines).encode()),
    )
)
def test_split(content, tmp_path):
    frames = read_or_refuse(read_split, tmp_path / "split.txt", content)
    if frames is not None:
        assert frames and len(set(frames)) == len(frames)
        assert all(frame.split() == [frame] and "/" not in frame for frame in frames)
