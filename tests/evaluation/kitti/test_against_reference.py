"""The vectorised evaluation against the literal one, on frames made to provoke every rule."""

import numpy as np
import pytest

from structkd.evaluation.kitti import CATEGORIES, KittiEvaluation, KittiObjects

TYPES = ("Car", "Car", "Van", "Pedestrian", "Pedestrian", "Person_sitting", "Cyclist", "Truck", "DontCare", "car")


def crowd(random, num_labels, num_detections):
    """One frame: few places, so that boxes overlap; whole pixels and few scores, so that there are ties."""
    kind = random.choice(TYPES, num_labels)
    corner = random.integers(0, 60, (num_labels, 2))
    # Heights of exactly 25 and 40 pixels decide between the two height rules.
    sides = np.column_stack([random.integers(20, 40, num_labels), random.choice([20, 25, 30, 40, 45], num_labels)])
    image = np.concatenate([corner, corner + sides], axis=1).astype(float)
    place = np.column_stack(
        [random.uniform(0, 4, num_labels), random.normal(1.6, 0.2, num_labels), np.full(num_labels, 9.0)]
    )
    place[:, 2] += random.uniform(0, 4, num_labels)
    size = random.uniform(1, 4, (num_labels, 3))
    heading = random.uniform(-np.pi, np.pi, (num_labels, 1))
    boxes = np.concatenate([place, size, heading], axis=1)
    truncated, occluded = random.choice([0, 0.15, 0.2, 0.3, 0.6], num_labels), random.integers(0, 4, num_labels)
    labels = KittiObjects.from_boxes(kind, boxes, image, truncated=truncated, occluded=occluded)

    source = random.integers(0, num_labels, num_detections) if num_labels else np.empty(0, dtype=int)
    count = len(source)
    seen = np.where(random.random(count) < 0.8, kind[source], random.choice(TYPES[:-2], count))
    shift = random.integers(-3, 4, (count, 4)) * (random.random((count, 1)) < 0.7)
    moved = boxes[source] + random.normal(0, 0.1, (count, 7)) * (random.random((count, 1)) < 0.9)
    score = random.choice([0.1, 0.3, 0.5, 0.5, 0.7, 0.9], count) + random.choice([0, 0, 0.01, 0.02], count)
    return labels, KittiObjects.from_boxes(seen, moved, image[source] + shift, score)


def frames(seed, count):
    random = np.random.default_rng(seed)
    made = [crowd(random, random.integers(0, 8), random.integers(0, 16)) for _ in range(count)]
    return [list(side) for side in zip(*made)]


def assert_same(found, expected):
    thresholds, precision, similarity, num_objects = expected
    assert found.num_objects == num_objects
    assert found.thresholds.tolist() == thresholds
    assert found.precision.tolist() == precision
    assert np.allclose(found.similarity, similarity, rtol=0, atol=1e-12)


@pytest.mark.parametrize("height_rule", ["<", "<="])
@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_the_literal_evaluation(seed, height_rule, reference):
    # From few objects, with less than 41 thresholds, to many.
    labels, detections = frames(seed, count=(3, 20, 50, 300)[seed % 4])
    evaluation = KittiEvaluation(labels, detections, height_rule=height_rule)
    plain = [[reference.plain(frame) for frame in side] for side in (labels, detections)]
    for i, (category, difficulty) in enumerate((c, d) for c in CATEGORIES.values() for d in reference.LEAST_HEIGHT):
        metric = ("2d", "bev", "3d")[(i + i // 3 + seed) % 3]
        for least in {category.strict[metric], category.loose[metric]}:
            expected = reference.curve(*plain, category.name, difficulty, metric, least, height_rule)
            assert_same(evaluation.curve(category.name, difficulty, metric, least), expected)


def test_the_frames_hold_what_they_are_meant_to():
    labels, detections = frames(3, 200)
    evaluation = KittiEvaluation(labels, detections)
    other = KittiEvaluation(labels, detections, height_rule="<=")
    assert evaluation.num_objects() != other.num_objects()
    for name in CATEGORIES:
        curve = evaluation.curve(name, "hard", "2d", 0.5)
        assert len(curve.thresholds) > 20 and 0.1 < curve.precision[10] < 0.95
        assert len(np.unique(curve.thresholds)) < len(curve.thresholds)  # ties


def test_averages_are_those_of_the_curves(reference):
    labels, detections = frames(7, 40)
    results = KittiEvaluation(labels, detections).results("loose")
    plain = [[reference.plain(frame) for frame in side] for side in (labels, detections)]
    for points in (40, 11):
        for index, difficulty in enumerate(reference.LEAST_HEIGHT):
            _, precision, similarity, _ = reference.curve(*plain, "Car", difficulty, "2d", 0.7)
            expected = reference.average(precision, points), reference.average(similarity, points)
            found = results["Car"]["2d"][f"AP{points}"][index], results["Car"]["aos"][f"AP{points}"][index]
            assert found == pytest.approx(expected)
        _, precision, _, _ = reference.curve(*plain, "Cyclist", "hard", "3d", 0.25)
        assert results["Cyclist"]["3d"][f"AP{points}"][2] == pytest.approx(reference.average(precision, points))
