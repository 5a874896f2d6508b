"""Each rule of the evaluation on its own, with averages that can be told in advance."""

import numpy as np
import pytest

from structkd.errors import ConfigError, DataError
from structkd.evaluation.kitti import KittiEvaluation, KittiObjects

HIGH = 50  # pixels: counts at every difficulty


def objects(count, kind="Car", score=None, x=0.0, height=HIGH, alpha=None, **columns):
    """Objects in a row, far enough apart in the image and on the ground; `x` shifts all of them."""
    place = 10.0 * np.arange(count) + x
    boxes = np.column_stack([place, np.full((count, 2), (1.6, 30.0)), np.tile([4.0, 1.5, 1.6, 0.0], (count, 1))])
    image = np.column_stack([10 * place, np.full(count, 100.0), 10 * place + 80, np.full(count, 100.0 + height)])
    scores = None if score is None else np.broadcast_to(score, (count,))
    made = KittiObjects.from_boxes([kind] * count, boxes, image, scores, **columns)
    if alpha is not None:
        made.rows[:, 2] = alpha
    return made


def ap(labels, detections, metric="3d", name="Car", points="AP40", **options):
    overlaps = options.pop("overlaps", "strict")
    result = KittiEvaluation([labels], [detections], **options).results(overlaps)[name][metric]
    return None if result is None else result[points]


@pytest.mark.parametrize("metric", ["2d", "bev", "3d", "aos"])
@pytest.mark.parametrize("points", ["AP40", "AP11"])
def test_labels_as_detections_have_100(metric, points):
    found = ap(objects(50, truncated=0, occluded=0), objects(50, score=np.linspace(1, 0.5, 50)), metric, points=points)
    assert found == pytest.approx([100, 100, 100])


def test_few_objects_leave_samples_empty():
    # Ten objects give ten thresholds: the samples 0 to 9 of 41.
    labels, detections = objects(10, truncated=0, occluded=0), objects(10, score=0.5)
    assert ap(labels, detections)[0] == pytest.approx(100 * 9 / 40)
    assert ap(labels, detections, points="AP11")[0] == pytest.approx(100 * 3 / 11)


def test_results_have_the_documented_form():
    results = KittiEvaluation([objects(3, truncated=0, occluded=0)], [objects(3, score=1)]).results()
    assert list(results) == ["Car", "Pedestrian", "Cyclist"]
    for metrics in results.values():
        assert list(metrics) == ["2d", "bev", "3d", "aos"]
        assert all(list(averages) == ["AP40", "AP11"] for averages in metrics.values())
        assert all(len(values) == 3 for averages in metrics.values() for values in averages.values())
    assert results["Cyclist"]["3d"] == {"AP40": [0, 0, 0], "AP11": [0, 0, 0]}


def test_difficulties_are_nested():
    parts = [
        objects(4, truncated=0.1, occluded=0),
        objects(3, truncated=0.3, occluded=1, x=100, height=30),
        objects(2, truncated=0.5, occluded=2, x=200, height=30),
        objects(5, truncated=0.6, occluded=0, x=300),
        objects(5, truncated=0, occluded=3, x=400),
    ]
    labels = KittiObjects.concatenate(parts)
    assert KittiEvaluation([labels], [objects(0, score=1)]).num_objects()["Car"] == [4, 7, 9]


def test_height_rule_decides_on_exactly_the_least_height():
    labels = KittiObjects.concatenate([objects(2, height=40), objects(3, height=25, x=50)])
    for part in (labels.truncated, labels.occluded):
        part[:] = 0
    none = objects(0, score=1)
    assert KittiEvaluation([labels], [none]).num_objects()["Car"] == [2, 5, 5]
    assert KittiEvaluation([labels], [none], height_rule="<=").num_objects()["Car"] == [0, 2, 2]


def test_neighbours_are_neither_right_nor_wrong():
    labels = objects(50, truncated=0, occluded=0)
    vans = objects(5, "Van", truncated=0, occluded=0, x=1000)
    detections = KittiObjects.concatenate([objects(50, score=0.5), objects(5, score=0.9, x=1000)])
    assert ap(KittiObjects.concatenate([labels, vans]), detections)[0] == pytest.approx(100)
    assert ap(labels, detections)[0] < 99


def test_a_match_exceeds_the_overlap():
    # Half of the length in common with a box of the same width and half the length: an overlap of exactly 0.5.
    labels = objects(50, "Pedestrian", truncated=0, occluded=0)
    detections = objects(50, "Pedestrian", score=1)
    detections.rows[:, 5] -= 40
    assert ap(labels, detections, "2d", "Pedestrian") == [0, 0, 0]
    detections.rows[:, 5] += 1e-6
    assert ap(labels, detections, "2d", "Pedestrian") == pytest.approx([100] * 3)


def test_loose_overlaps():
    labels, detections = objects(50, truncated=0, occluded=0), objects(50, score=1)
    detections.rows[:, 10] += 1  # of 4 m: an overlap of 0.6
    for metric in ("bev", "3d"):
        assert ap(labels, detections, metric) == [0, 0, 0]
        assert ap(labels, detections, metric, overlaps="loose") == pytest.approx([100] * 3)


def test_dont_care_excuses_detections_in_the_image_only():
    cars = objects(50, truncated=0, occluded=0)
    regions = objects(5, "DontCare", x=1000)
    detections = KittiObjects.concatenate([objects(50, score=0.5), objects(5, score=0.9, x=1000)])
    labels = KittiObjects.concatenate([cars, regions])
    assert ap(labels, detections, "2d")[0] == pytest.approx(100)
    assert ap(labels, detections, "bev")[0] == ap(cars, detections, "bev")[0] < 99


def test_dont_care_must_cover_more_than_the_overlap():
    people, regions = objects(50, "Pedestrian", truncated=0, occluded=0), objects(5, "DontCare", x=1000)
    detections = [objects(50, "Pedestrian", score=0.5), objects(5, "Pedestrian", score=0.9, x=1000)]
    labels, detections = KittiObjects.concatenate([people, regions]), KittiObjects.concatenate(detections)
    labels.rows[50:, 5] -= 40  # half of the detection is inside
    assert ap(labels, detections, "2d", "Pedestrian")[0] < 99
    labels.rows[50:, 5] += 1e-6
    assert ap(labels, detections, "2d", "Pedestrian")[0] == pytest.approx(100)


def test_a_low_detection_of_any_class_can_take_an_object():
    labels = objects(1, truncated=0, occluded=0)
    car, low = objects(1, score=0.5), objects(1, "Cyclist", score=0.9, height=39)  # overlaps by 39 / 50
    both = KittiObjects.concatenate([car, low])
    # The first pass takes the best score, which is ignored at easy (below 40 pixels): no threshold, no curve.
    assert len(KittiEvaluation([labels], [both]).curve("Car", "easy", "2d", 0.7).thresholds) == 0
    assert KittiEvaluation([labels], [both]).curve("Car", "moderate", "2d", 0.7).precision[0] == 1


def test_second_pass_prefers_overlap_to_score_and_counts_the_rest_as_wrong():
    labels = objects(1, truncated=0, occluded=0)
    better, best = objects(1, score=0.4, x=0.1), objects(1, score=0.9, x=0.2)
    curve = KittiEvaluation([labels], [KittiObjects.concatenate([best, better])]).curve("Car", "easy", "bev", 0.7)
    assert curve.thresholds.tolist() == [0.9]
    assert curve.precision[0] == 1
    two = KittiObjects.concatenate([labels, objects(1, truncated=0, occluded=0, x=10)])
    curve = KittiEvaluation([two], [KittiObjects.concatenate([best, better, objects(1, score=0.3, x=10)])]).curve(
        "Car", "easy", "bev", 0.7
    )
    assert curve.thresholds.tolist() == [0.9, 0.3]
    assert curve.precision[:2] == pytest.approx([1, 2 / 3])


def test_headings():
    labels = objects(50, truncated=0, occluded=0, alpha=0.3)
    for error, expected in ((0, 100), (np.pi, 0), (np.pi / 2, 50), (2 * np.pi, 100)):
        assert ap(labels, objects(50, score=1, alpha=0.3 + error), "aos") == pytest.approx([expected] * 3, abs=1e-9)
    one_without = objects(50, score=1)
    one_without.rows[7, 2] = -10
    assert ap(labels, one_without, "aos") is None
    assert ap(labels, one_without, "2d") == pytest.approx([100] * 3)


def test_order_of_frames_does_not_matter_and_frames_may_be_empty():
    random = np.random.default_rng(0)
    labels = [objects(n, truncated=0, occluded=0) for n in random.integers(0, 9, 30)]
    detections = [objects(n, score=random.random(n), x=random.normal(0, 0.3)) for n in random.integers(0, 12, 30)]
    expected = KittiEvaluation(labels, detections).results()
    assert 10 < expected["Car"]["bev"]["AP40"][0] < 90
    order = random.permutation(30)
    for other in (
        KittiEvaluation([labels[i] for i in order], [detections[i] for i in order]),
        KittiEvaluation([objects(0), *labels], [objects(0, score=1), *detections]),
    ):
        for metric, averages in other.results()["Car"].items():
            assert averages["AP40"] == pytest.approx(expected["Car"][metric]["AP40"], abs=1e-9)


def test_nothing_at_all_is_zero():
    nothing = objects(0, score=1)
    for labels, detections in ((objects(0), nothing), (objects(3), nothing), (objects(0), objects(3, score=1))):
        results = KittiEvaluation([labels], [detections]).results()
        assert all(v == 0 for r in results.values() for m in r.values() for values in m.values() for v in values)


def test_boxes_without_size_match_nothing_in_space():
    labels, detections = objects(50, truncated=0, occluded=0), objects(50, score=1)
    detections.rows[:, 7:10] = -1
    detections.rows[:, 10:13] = -1000
    assert ap(labels, detections, "2d") == pytest.approx([100] * 3)
    assert ap(labels, detections, "3d") == ap(labels, detections, "bev") == [0, 0, 0]
    labels.rows[:, 7:10] = -1
    labels.rows[:, 10:13] = -1000
    assert ap(labels, detections, "3d") == [0, 0, 0]


def test_some_classes_only():
    labels, detections = [objects(5, truncated=0, occluded=0)], [objects(5, score=1)]
    full = KittiEvaluation(labels, detections).results()
    assert KittiEvaluation(labels, detections, classes=["Car"]).results() == {"Car": full["Car"]}


def test_blocks_of_pairs_change_nothing(monkeypatch):
    from structkd.evaluation.kitti import pairs

    labels, detections = [objects(9, truncated=0, occluded=0)] * 5, [objects(9, score=0.5, x=0.2)] * 5
    labels.append(objects(4, "DontCare"))
    detections.append(objects(2, score=0.9))
    expected = KittiEvaluation(labels, detections).results()
    monkeypatch.setattr(pairs, "BLOCK", 20)
    assert KittiEvaluation(labels, detections).results() == expected


def test_errors():
    label, detection = objects(1), objects(1, score=1)
    with pytest.raises(DataError, match="labels of 2 frames and detections of 1"):
        KittiEvaluation([label, label], [detection])
    with pytest.raises(DataError, match="at least one"):
        KittiEvaluation([], [])
    with pytest.raises(DataError, match="frame 1 have no scores"):
        KittiEvaluation([label, label], [detection, label])
    broken = objects(1, score=float("nan"))
    with pytest.raises(DataError, match="frame 2 hold NaN"):
        KittiEvaluation([label] * 3, [objects(0, score=1), detection, broken])
    with pytest.raises(ConfigError, match="Nearest: Cyclist"):
        KittiEvaluation([label], [detection], classes=["Cyclists"])
    with pytest.raises(ConfigError, match="height_rule is '>'"):
        KittiEvaluation([label], [detection], height_rule=">")
    with pytest.raises(ConfigError, match="'strict' or 'loose'"):
        KittiEvaluation([label], [detection]).results("lax")
    with pytest.raises(DataError, match=r"rows \(1, 3\)"):
        KittiObjects(np.array(["Car"]), np.zeros((1, 3)))
