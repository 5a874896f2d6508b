import json
import sys

from structkd.visualization.curves import _mean_curve as mean_curve
from structkd.visualization.curves import curves_figure, differences_figure, figures, latency_figure, stage_colours
from structkd.visualization.run import Run, read_run


def test_every_figure_is_drawn_when_there_is_data_and_none_without(work_dir, results):
    run = read_run(work_dir)
    assert list(figures(run)) == ["scores", "differences", "curves", "latency"]
    for stage in results["stages"].values():
        stage["latency_ms"] = {}
    bare = Run("bare", results | {"paired": {}})
    assert differences_figure(bare) is None and curves_figure(bare) is None and latency_figure(bare) is None


def test_one_seed_is_drawn_without_a_spread(results):
    for entry in [*results["stages"].values()]:
        entry["metrics"] = {"test/accuracy": {"values": [0.5], "mean": 0.5, "std": 0.0}}
    for against in results["paired"].values():
        for entry in against.values():
            entry["test/accuracy"] = {"values": [0.1], "mean": 0.1, "std": 0.0}
    assert list(figures(Run("one", results | {"seeds": [0]}))) == ["scores", "differences", "latency"]


def test_losses_that_are_not_positive_or_missing_can_be_drawn(results):
    curves = {"mlp": {0: [{"epoch": 1, "train/loss": 0.0}, {"epoch": 2, "train/loss": -1.0}], 1: [{"epoch": 1}]}}
    assert curves_figure(Run("odd", results, curves)) is not None


def test_mean_curve_goes_as_far_as_all_seeds():
    assert mean_curve([{1: 2.0, 2: 4.0, 3: 9.0}, {1: 4.0, 2: 6.0}]) == {1: 3.0, 2: 5.0}


def test_teacher_and_plain_are_grey_and_methods_differ(results):
    colours = stage_colours(results)
    assert len(set(colours.values())) == 4
    assert colours == stage_colours(json.loads(json.dumps(results)))


def test_pyplot_is_left_alone(work_dir):
    before = "matplotlib.pyplot" in sys.modules
    figures(read_run(work_dir))
    assert ("matplotlib.pyplot" in sys.modules) == before
