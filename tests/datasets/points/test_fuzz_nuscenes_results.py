"""Whatever a submission holds: the readers return what they document, or raise a DataError that names the file."""

import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from structkd.datasets.points.nuscenes_results import read_nuscenes_labels, read_nuscenes_results, write_nuscenes_boxes
from structkd.errors import DataError
from structkd.evaluation.nuscenes import NuScenesEvaluation

fuzz = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

GOOD = dict(
    sample_token="a",
    translation=[1.0, 2.0, 3.0],
    size=[2.0, 4.0, 1.5],
    rotation=[1, 0, 0, 0],
    velocity=[0.5, math.nan],
    detection_name="car",
    detection_score=0.5,
    attribute_name="vehicle.moving",
    num_pts=3,
    ego_translation=[1.0, 2.0, 0.0],
)
ODD = [None, True, "1.0", "", [], {}, [1], [1, 2, 3], [0, 0, 0, 0], [math.inf] * 3, [math.nan] * 2, -1, 1e400, 10**400]
VALUES = st.one_of(st.sampled_from(ODD), st.floats(), st.lists(st.floats(-5, 5), max_size=5), st.text(max_size=4))


@st.composite
def contents(draw):
    """A good file with up to three things replaced or left out."""
    boxes = [dict(GOOD) for _ in range(draw(st.integers(0, 3)))]
    for _ in range(draw(st.integers(0, 3)) if boxes else 0):
        box, key = draw(st.sampled_from(boxes)), draw(st.sampled_from(sorted(GOOD)))
        if draw(st.booleans()):
            box[key] = draw(VALUES)
        else:
            box.pop(key, None)
    results = {"a": boxes} | ({"b": draw(VALUES)} if draw(st.integers(0, 4)) == 0 else {})
    content = {"meta": {}, "results": results}
    for key in ("ego_poses", "bicycle_racks"):
        if draw(st.integers(0, 3)) == 0:
            content[key] = draw(st.one_of(VALUES, st.dictionaries(st.sampled_from("ab"), VALUES, max_size=2)))
    text = json.dumps(content)
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


@pytest.mark.parametrize("read", [read_nuscenes_results, read_nuscenes_labels])
@fuzz
@given(content=st.one_of(contents().map(str.encode), st.binary(max_size=60)))
def test_read(read, content, tmp_path):
    path = tmp_path / "boxes.json"
    path.write_bytes(content)
    try:
        boxes = read(path)
    except DataError as error:
        assert str(path) in str(error) and len(str(error)) < 700
        return
    assert np.isfinite(boxes.center).all() and (boxes.size > 0).all()
    assert (boxes.score is None) == (read is read_nuscenes_labels)
    write_nuscenes_boxes(tmp_path / "copy.json", boxes)
    copy = read(tmp_path / "copy.json")
    for name in boxes.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(copy, name), getattr(boxes, name))
    if boxes.score is not None and boxes.samples:
        results = NuScenesEvaluation(boxes, boxes).results()
        assert 0 <= results["mean_ap"] <= results["nd_score"] * 2 <= 2


def test_what_is_wrong_is_named(tmp_path):
    path = tmp_path / "boxes.json"

    def refused(match, read=read_nuscenes_results, top=None, **changes):
        box = {key: value for key, value in (GOOD | changes).items() if value != "left out"}
        path.write_text(json.dumps({"meta": {}, "results": {"a": [GOOD, box]}} | (top or {})))
        with pytest.raises(DataError, match=match):
            read(path)

    refused("box 1 of sample a has size .2.0, -1, 1.*positive width.* 1 of 2 boxes", size=[2.0, -1, 1])
    refused("has no translation; expected 3 numbers", translation="left out")
    refused("has rotation .1, 0, 0.; expected 4 numbers", rotation=[1, 0, 0])
    refused("Nearest: car", detection_name="cars")
    refused("attribute_name .*Nearest: vehicle.moving", attribute_name="vehicle.move")
    refused("detection_score -0.5; expected 0 or more", detection_score=-0.5)
    refused("has sample_token .b.; expected its sample's", sample_token="b")
    refused("has velocity .*finite", velocity=[math.inf, 0])
    labels = read_nuscenes_labels
    refused("num_pts -2", labels, num_pts=-2)
    refused("lacks 1 samples, the first a", labels, {"ego_poses": {}})
    refused("names sample b", labels, {"bicycle_racks": {"b": []}})
    refused("sample b has no box with ego_translation", labels, {"results": {"a": [GOOD], "b": []}})
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="is no JSON file"):
        read_nuscenes_results(path)
    with pytest.raises(DataError, match="There is no file"):
        read_nuscenes_results(tmp_path / "nowhere.json")


def test_where_the_vehicle_is(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"results": {"a": [GOOD]}}))
    assert read_nuscenes_labels(path).ego.tolist() == [[0, 0, 3]]
    path.write_text(json.dumps({"results": {"a": [GOOD], "b": []}, "ego_poses": {"a": [1, 1, 1], "b": [2, 2, 2]}}))
    assert read_nuscenes_labels(path).ego.tolist() == [[1, 1, 1], [2, 2, 2]]
    plain = {key: value for key, value in GOOD.items() if key not in ("ego_translation", "num_pts")}
    path.write_text(json.dumps({"results": {"a": [plain]}}))
    assert read_nuscenes_labels(path).ego is None and read_nuscenes_labels(path).num_points is None
