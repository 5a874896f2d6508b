"""Random samples with boxes, some of them near each other, some equal in score, some beyond the range."""

import numpy as np
import pytest

from structkd.evaluation.nuscenes import ATTRIBUTES, NuScenesBoxes


def random_boxes(rng, samples, per_sample, scored, spread=30.0, classes=10):
    n = samples * per_sample
    rotation = rng.normal(0, 0.05, (n, 4))
    turn = rng.uniform(-np.pi, np.pi, n)
    rotation[:, 0] += np.cos(turn / 2)
    rotation[:, 3] += np.sin(turn / 2)
    velocity = rng.normal(0, 2, (n, 2))
    velocity[rng.random(n) < 0.1] = np.nan
    sample = np.sort(rng.integers(0, samples, n))
    return NuScenesBoxes(
        samples=tuple(f"s{i}" for i in range(samples)),
        sample=sample,
        label=rng.integers(0, classes, n),
        center=rng.uniform(-spread, spread, (n, 3)) + np.array([600, 1000, 0]),
        size=rng.uniform(0.3, 5, (n, 3)),
        rotation=rotation,
        velocity=velocity,
        attribute=rng.integers(-1, len(ATTRIBUTES), n),
        score=rng.integers(0, 20, n) / 20 if scored else None,  # many ties, and some scores of 0
        num_points=None if scored else rng.integers(0, 6, n),
    )


def random_case(seed, samples=6, per_sample=40, spread=30.0, classes=10):
    """Labels with places of the vehicle and racks, and detections that are partly copies of labels with noise."""
    rng = np.random.default_rng(seed)
    labels = random_boxes(rng, samples, per_sample, False, spread, classes)
    detections = random_boxes(rng, samples, per_sample, True, spread, classes)
    rows = rng.permutation(len(labels))[: len(labels) // 2]
    for name, noise in (("center", 0.6), ("size", 0.1), ("rotation", 0.1), ("velocity", 0.3)):
        values = getattr(labels, name)[rows]
        getattr(detections, name)[rows] = np.abs(values + 0.02) if name == "size" else values
        if name != "size":
            getattr(detections, name)[rows] += rng.normal(0, noise, values.shape)
    for name in ("sample", "label", "attribute"):
        getattr(detections, name)[rows] = getattr(labels, name)[rows]
    racks = np.concatenate(
        [
            labels.center[: samples * 2] + rng.normal(0, 1, (samples * 2, 3)),
            rng.uniform(2, 9, (samples * 2, 3)),
            labels.rotation[: samples * 2] + rng.normal(0, 0.2, (samples * 2, 4)),
        ],
        axis=1,
    )
    ego = np.full((samples, 3), (600.0, 1000, 0)) + rng.normal(0, 5, (samples, 3))
    fields = {name: getattr(labels, name) for name in labels.__dataclass_fields__}
    fields |= dict(ego=ego, racks=racks, rack_sample=labels.sample[: samples * 2].copy())
    return NuScenesBoxes(**fields), detections[np.argsort(detections.sample, kind="stable")]  # as a file has them


@pytest.fixture(scope="session")
def case():
    """`random_case(seed, samples, per_sample, spread, classes)` -> labels, detections."""
    return random_case
