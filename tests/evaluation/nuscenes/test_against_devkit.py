"""The same files through the official devkit and through ours; needs nuscenes-devkit, which is optional."""

import json
from dataclasses import replace

import numpy as np
import pytest

from structkd.datasets.points.nuscenes_results import read_nuscenes_labels, read_nuscenes_results, write_nuscenes_boxes
from structkd.evaluation.nuscenes import CLASSES, NuScenesEvaluation

pytest.importorskip("nuscenes.eval.detection.algo")


class Tables:
    """The few rows of the dataset's tables that the devkit's filters look up."""

    def __init__(self, labels):
        self.rows = {}
        for index, token in enumerate(labels.samples):
            anns = []
            if labels.racks is not None:
                for number in np.flatnonzero(labels.rack_sample == index):
                    rack, name = labels.racks[number], f"rack{number}"
                    anns.append(name)
                    self.rows["sample_annotation", name] = dict(
                        category_name="static_object.bicycle_rack",
                        translation=rack[:3],
                        size=rack[3:6],
                        rotation=rack[6:],
                    )
            self.rows["sample", token] = dict(anns=anns, data={"LIDAR_TOP": token})
            self.rows["sample_data", token] = dict(ego_pose_token=token)
            self.rows["ego_pose", token] = dict(translation=labels.ego[index])

    def get(self, table, token):
        return self.rows[table, token]


def official(labels, label_path, result_path):
    """metrics_summary of the devkit, by its own classes and functions."""
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.common.loaders import add_center_dist, filter_eval_boxes, load_prediction
    from nuscenes.eval.detection.data_classes import DetectionBox
    from nuscenes.eval.detection.evaluate import DetectionEval

    config, tables = config_factory("detection_cvpr_2019"), Tables(labels)
    evaluation = DetectionEval.__new__(DetectionEval)
    evaluation.cfg, evaluation.verbose = config, False
    content = json.loads(label_path.read_text())["results"]
    sides = dict(gt_boxes=EvalBoxes.deserialize(content, DetectionBox))
    sides["pred_boxes"], _ = load_prediction(str(result_path), config.max_boxes_per_sample, DetectionBox)
    for name, boxes in sides.items():
        if boxes.all:  # the devkit's filter cannot do without any box
            boxes = filter_eval_boxes(tables, add_center_dist(tables, boxes), config.class_range)
        setattr(evaluation, name, boxes)
    metrics, curves = evaluation.evaluate()
    return metrics.serialize(), curves


def compare(labels, detections, folder):
    label_path = write_nuscenes_boxes(folder / "labels.json", labels)
    result_path = write_nuscenes_boxes(folder / "results.json", detections)
    expected, curves = official(labels, label_path, result_path)
    evaluation = NuScenesEvaluation(read_nuscenes_labels(label_path), read_nuscenes_results(result_path))
    found = evaluation.results()
    for key in ("nd_score", "mean_ap"):
        assert found[key] == pytest.approx(expected[key], abs=1e-12)
    for key in ("mean_dist_aps", "tp_errors", "tp_scores"):
        assert found[key] == pytest.approx(dict(expected[key]), abs=1e-12)
    for name in CLASSES:
        assert found["label_aps"][name] == pytest.approx(dict(expected["label_aps"][name]), abs=1e-12)
        errors = {key: np.nan if value is None else value for key, value in found["label_tp_errors"][name].items()}
        assert errors == pytest.approx(dict(expected["label_tp_errors"][name]), abs=1e-12, nan_ok=True)
        for distance in (0.5, 1.0, 2.0, 4.0):
            ours, theirs = evaluation.curve(name, distance), curves[name, distance]
            np.testing.assert_allclose(ours.precision, theirs.precision, atol=1e-12)
            np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=1e-12)
            for key, values in ours.errors.items():
                np.testing.assert_allclose(values, getattr(theirs, key), atol=1e-10)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_random(seed, case, tmp_path):
    found = compare(*case(seed, spread=8.0 + 6 * seed, classes=1 + seed + seed // 7 * 2), tmp_path)
    assert 0 < found["mean_ap"] < 0.9


def test_ties_everywhere(case, tmp_path):
    labels, detections = case(3, samples=3, spread=4.0, classes=2)
    center = np.round(detections.center)  # many equal distances
    detections = replace(detections, score=np.full(len(detections), 0.5), center=center)
    labels = replace(labels, center=np.round(labels.center), racks=None, rack_sample=None)
    assert compare(labels, detections, tmp_path)["mean_ap"] > 0


def test_nothing_found_or_nothing_there(case, tmp_path):
    labels, detections = case(5)
    none = np.zeros(len(labels), bool)
    assert compare(labels, detections[none], tmp_path)["nd_score"] == 0
    assert compare(labels[none], detections, tmp_path)["nd_score"] == 0
    assert compare(labels, replace(detections, center=detections.center + 1000), tmp_path)["nd_score"] == 0
    assert compare(labels, replace(detections, label=(detections.label + 5) % 10), tmp_path)["mean_ap"] < 0.05


def test_perfect(case, tmp_path):
    labels, _ = case(6)
    labels = replace(labels, num_points=np.ones(len(labels), np.int64), velocity=np.zeros((len(labels), 2)))
    detections = replace(
        labels, score=np.linspace(0.1, 1, len(labels)), ego=None, racks=None, rack_sample=None, num_points=None
    )
    found = compare(labels, detections, tmp_path)
    assert found["mean_ap"] > 0.999 and found["nd_score"] > 0.999


def test_scores_of_zero_and_one_object(case, tmp_path):
    labels, detections = case(7, samples=2, per_sample=30, spread=6.0, classes=1)
    compare(labels, replace(detections, score=np.zeros(len(detections))), tmp_path)
    compare(labels[:1], detections, tmp_path)
    compare(labels, detections[:1], tmp_path)
    compare(labels, replace(detections, velocity=np.full((len(detections), 2), np.nan)), tmp_path)
