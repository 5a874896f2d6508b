import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from structkd.errors import ConfigError, DataError
from structkd.evaluation.nuscenes import ATTRIBUTES, CLASSES, DISTANCES, ERRORS, NuScenesBoxes, NuScenesEvaluation

#: Figures of `random_case(0)` and `random_case(1)`, made by nuscenes-devkit 1.2.0.
EXPECTED = json.loads(Path(__file__).with_name("devkit_figures.json").read_text())


def boxes(x, label="car", score=None, sample=0, samples=("a",), heading=0.0, attribute=-1, **changes):
    """Boxes of 2 x 4 x 1.5 m (width, length, height) at places x on a line."""
    n = len(x)
    fields = dict(
        samples=tuple(samples),
        sample=np.broadcast_to(np.asarray(sample), n).copy(),
        label=np.full(n, CLASSES.index(label)),
        center=np.stack([np.asarray(x, float), np.zeros(n), np.zeros(n)], 1),
        size=np.tile([2.0, 4.0, 1.5], (n, 1)),
        rotation=np.tile([np.cos(heading / 2), 0, 0, np.sin(heading / 2)], (n, 1)),
        velocity=np.zeros((n, 2)),
        attribute=np.full(n, attribute),
        score=None if score is None else np.asarray(score, float),
    )
    return NuScenesBoxes(**(fields | changes))


def test_hand_computed_average_precision():
    """Two cars; the best detection finds one, the second is wrong, the third finds the other from 1 m on."""
    labels = boxes([0.0, 10])
    detections = boxes([0.2, 30, 10.7], score=[0.9, 0.8, 0.7])
    evaluation = NuScenesEvaluation(labels, detections)
    # At 0.5 m: recall 1/2 at precision 1, then nothing: 40 of the 90 samples above 0.1 have precision 1. (The second
    # detection repeats recall 1/2 with precision 1/2 and the third with 1/3, which the sample at 0.5 itself takes.)
    near = evaluation.curve("car", 0.5)
    assert near.average_precision() == pytest.approx((39 + (1 / 3 - 0.1) / 0.9) / 90)
    # From 1 m on recall goes from 1/2 (precision 1/2 after the wrong one) to 1 at 2/3, linearly between.
    far = evaluation.curve("car", 1.0)
    line = 0.5 + (2 / 3 - 0.5) * (np.arange(51, 101) / 100 - 0.5) / 0.5
    assert far.average_precision() == pytest.approx((39 + (0.5 - 0.1) / 0.9 + ((line - 0.1) / 0.9).sum()) / 90)
    # The distance to what is found: 0.2 for the first, 0.45 on average; between them by the confidence.
    assert far.errors["trans_err"][[20, 100]] == pytest.approx([0.2, 0.45])
    assert evaluation.num_objects()["car"] == 2 and evaluation.num_detections()["car"] == 3
    results = evaluation.results()
    assert results["mean_dist_aps"]["car"] == pytest.approx(np.mean(list(results["label_aps"]["car"].values())))
    assert results["mean_ap"] == pytest.approx(results["mean_dist_aps"]["car"] / 10)


def test_hand_computed_errors_and_score():
    """One car found 1 m off, half a metre a second too slow, a quarter turn off, half as long, wrong attribute."""
    labels = boxes([0.0], attribute=ATTRIBUTES.index("vehicle.moving"), velocity=np.array([[1.0, 0]]))
    detections = boxes(
        [1.0],
        score=[0.5],
        heading=np.pi / 2,
        attribute=ATTRIBUTES.index("vehicle.parked"),
        size=np.array([[2, 2, 1.5]]),
        velocity=np.array([[0.5, 0]]),
    )
    results = NuScenesEvaluation(labels, detections).results()
    assert results["label_aps"]["car"] == pytest.approx({0.5: 0, 1.0: 0, 2.0: 1, 4.0: 1})
    car = dict(trans_err=1, scale_err=0.5, orient_err=np.pi / 2, vel_err=0.5, attr_err=1)
    assert results["label_tp_errors"]["car"] == pytest.approx(car)
    # The nine other classes have error 1, those that have the error at all.
    assert results["tp_errors"]["scale_err"] == pytest.approx((9 + 0.5) / 10)
    assert results["tp_errors"]["orient_err"] == pytest.approx((8 + np.pi / 2) / 9)
    assert results["tp_errors"]["vel_err"] == pytest.approx((7 + 0.5) / 8)
    assert results["tp_scores"]["orient_err"] == 0
    score = (5 * 0.05 + 0.05 + 0.0625) / 10
    assert results["nd_score"] == pytest.approx(score)
    undefined = {name for name, value in results["label_tp_errors"]["traffic_cone"].items() if value is None}
    assert undefined == {"orient_err", "vel_err", "attr_err"}
    assert results["label_tp_errors"]["barrier"]["orient_err"] == 1


def test_barriers_have_no_front():
    for name, error in (("barrier", 0.0), ("car", np.pi)):
        evaluation = NuScenesEvaluation(boxes([0.0], name), boxes([0.0], name, score=[1], heading=np.pi))
        assert evaluation.results()["label_tp_errors"][name]["orient_err"] == pytest.approx(error, abs=1e-12)


def test_distance_must_be_less_and_nearest_free_object_is_taken():
    assert NuScenesEvaluation(boxes([0.0]), boxes([0.5], score=[1])).curve("car", 0.5).average_precision() == 0
    # Both detections are nearest to the first object; the less sure one must do with the second, 1.5 m away.
    evaluation = NuScenesEvaluation(boxes([0.0, 2]), boxes([0.4, 0.5], score=[0.9, 0.8]))
    assert evaluation.curve("car", 1.0).precision[100] == 0
    assert evaluation.curve("car", 2.0).precision[100] == pytest.approx(1)


def test_samples_and_classes_are_apart():
    labels = boxes([0.0, 0.0], sample=[0, 1], samples="ab")
    found = NuScenesEvaluation(labels, boxes([0.0, 0.0], sample=[0, 1], samples="ba", score=[0.9, 0.8]))
    assert found.curve("car", 0.5).average_precision() == pytest.approx(1)
    both_in_one = NuScenesEvaluation(labels, boxes([0.0, 0.0], sample=[0, 0], samples="ab", score=[0.9, 0.8]))
    assert both_in_one.curve("car", 0.5).precision[51] == 0
    assert (
        NuScenesEvaluation(labels, replace(labels, label=labels.label + 1, score=np.ones(2))).results()["mean_ap"] == 0
    )


def test_filters():
    labels = boxes([0.0, 49.9, 50, 20], ego=np.zeros((1, 3)), num_points=np.array([1, 1, 1, 0]))
    assert NuScenesEvaluation(labels, boxes([49.9, 50], score=[1, 1])).num_objects()["car"] == 2
    assert NuScenesEvaluation(labels, boxes([49.9, 50], score=[1, 1])).num_detections()["car"] == 1
    assert NuScenesEvaluation(replace(labels, ego=None), boxes([99], score=[1])).num_detections()["car"] == 1
    racks = np.array([[10.0, 0, 0, 2, 6, 2, np.cos(np.pi / 4), 0, 0, np.sin(np.pi / 4)]])  # 6 m across the line
    around = dict(racks=racks, rack_sample=np.zeros(1, np.int64))
    places = [8.9, 9.1, 10, 11.1]
    for name, left in (("bicycle", 2), ("motorcycle", 2), ("car", 4)):
        labels = boxes(places, name, **around)
        evaluation = NuScenesEvaluation(labels, boxes(places, name, score=np.ones(4)))
        assert evaluation.num_objects()[name] == left == evaluation.num_detections()[name]


@pytest.mark.parametrize("seed", [0, 1])
def test_figures_of_the_devkit(seed, case):
    labels, detections = case(seed)
    found = NuScenesEvaluation(labels, detections).results()
    expected = EXPECTED[str(seed)]
    for key in ("nd_score", "mean_ap", "mean_dist_aps", "tp_errors", "tp_scores"):
        assert found[key] == pytest.approx(expected[key], abs=1e-9)


def test_order_of_samples_and_rows_does_not_matter(case, generator):
    labels, detections = case(2)
    detections = replace(detections, score=np.random.default_rng(0).permutation(len(detections)) / 1000)
    expected = NuScenesEvaluation(labels, detections).results()
    rng = np.random.default_rng(1)
    order = rng.permutation(len(labels.samples))
    moved = replace(
        detections,
        samples=tuple(detections.samples[i] for i in order),
        sample=np.argsort(order)[detections.sample],
    )[rng.permutation(len(detections))]
    assert NuScenesEvaluation(labels, moved).results() == expected


def test_bounds(case):
    results = NuScenesEvaluation(*case(4)).results()
    assert 0 < results["nd_score"] < 1 and list(results["tp_errors"]) == list(ERRORS)
    for aps in results["label_aps"].values():
        assert list(aps) == list(DISTANCES) and list(aps.values()) == sorted(aps.values())


def test_errors():
    labels, detections = boxes([0.0]), boxes([0.0], score=[1])

    def refused(labels, detections, match):
        with pytest.raises(DataError, match=match):
            NuScenesEvaluation(labels, detections)

    refused(labels, boxes([0.0], samples="b", score=[1]), "1 labelled samples have no entry.*1 are not labelled")
    refused(labels, labels, "no scores")
    refused(labels, boxes(np.zeros(501), score=np.ones(501)), "501 detections")
    refused(labels, boxes([np.nan], score=[1]), "no boxes")
    refused(labels, boxes([0.0], score=[-1]), "scores of 0 or more")
    refused(labels, boxes([0.0], score=[1], size=np.zeros((1, 3))), "positive sizes")
    refused(boxes([0.0], rotation=np.zeros((1, 4))), detections, "labels, the first in sample a")
    refused(boxes([], samples=()), boxes([], samples=(), score=[]), "no sample")
    with pytest.raises(ConfigError, match="Nearest: car"):
        NuScenesEvaluation(labels, detections).curve("cars", 2.0)
    with pytest.raises(ConfigError, match=r"0\.5, 1\.0"):
        NuScenesEvaluation(labels, detections).curve("car", 3.0)
    for wrong, match in (
        (dict(sample=np.array([1])), "sample from 1"),
        (dict(label=np.array([10])), "label from 10"),
        (dict(attribute=np.array([-2])), "attribute from -2"),
        (dict(size=np.ones((1, 2))), r"size \(1, 2\)"),
        (dict(racks=np.ones((1, 10))), "one of racks"),
        (dict(samples=("a", "a")), "twice"),
    ):
        with pytest.raises(DataError, match=match):
            replace(labels, **wrong)


@pytest.mark.parametrize(("objects", "error"), [(9, 0.4), (10, 1.0)])
def test_least_recall_for_errors(objects, error):
    """One of nine is a recall above 0.1, one of ten is not."""
    labels = boxes(10.0 * np.arange(objects))
    evaluation = NuScenesEvaluation(labels, boxes([0.4], score=[0.5]))
    assert evaluation.curve("car", 2.0).mean_error("trans_err") == pytest.approx(error)


def test_racks_that_stand_askew():
    turn, along = np.radians(30), np.array([np.cos(np.radians(30)), np.sin(np.radians(30)), 0])
    rack = [0, 0, 0, 1, 10, 2, np.cos(turn / 2), 0, 0, np.sin(turn / 2)]
    for point, inside in ((4 * along, True), (4 * along * (1, -1, 1), False), (6 * along, False)):
        labels = boxes([0.0], "bicycle", center=point[None], racks=np.array([rack]), rack_sample=np.zeros(1, np.int64))
        evaluation = NuScenesEvaluation(labels, boxes([0.0], "bicycle", score=[1]))
        assert evaluation.num_objects()["bicycle"] == (0 if inside else 1)
