import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def points():
    sys.path.insert(0, str(TOOLS))
    try:
        from benchmarks import points

        yield points
    finally:
        sys.path.remove(str(TOOLS))


def test_frames_have_the_asked_sizes_and_are_seeded(points):
    labels, detections = points.kitti_frames(50, 400, 500)
    assert len(labels) == len(detections) == 50
    assert sum(map(len, labels)) == 400 and sum(map(len, detections)) == 500
    again, _ = points.kitti_frames(50, 400, 500)
    assert all((a.rows == b.rows).all() for a, b in zip(labels, again))


def test_evaluation_is_measured(points):
    from benchmarks.harness import Setting

    said = []
    (row,) = points.Evaluation().measure(Setting("points", "small", threads=1, repeats=2, say=said.append))
    assert row.name == "KITTI AP" and row.candidate > 0 and row.met is None
    assert len(row.detail["seconds"]) == 2 and "KITTI AP: repeat 2 of 2" in said
    # Neither perfect nor hopeless, so that matching has something to do.
    assert 20 < row.detail["results"]["Car"]["2d"]["AP40"][1] < 90


def test_both_sides_of_every_comparison_agree(points):
    from benchmarks.harness import Comparison

    comparisons = [benchmark for benchmark in points.suite("small") if isinstance(benchmark, Comparison)]
    assert [c.name for c in comparisons] == ["edge layers", "neighbours by features", "PointDistiller loss"]
    for comparison in comparisons:
        old, new = comparison.sides("small")
        for theirs, ours in zip(old(), new(), strict=True):
            gap = (theirs - ours).abs().max() / theirs.abs().max()
            assert gap < 1e-3, comparison.name


def test_targets_are_asked_at_the_full_size_only(points):
    asked = {b.name: (b.faster, b.smaller, b.asked_at) for b in points.suite("kitti") if hasattr(b, "faster")}
    assert asked["edge layers"] == (5, 5, ("kitti",)) and asked["neighbours by features"][0] == 1
