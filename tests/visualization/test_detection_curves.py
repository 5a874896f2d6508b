import numpy as np
import pytest

from structkd.errors import ConfigError, DataError
from structkd.evaluation.kitti.curves import Curve, envelope
from structkd.visualization import canvas, detection_curves
from structkd.visualization.detection_curves import detector_colours, plot_average_precision, plot_precision_recall


@pytest.fixture
def figures(monkeypatch):
    kept, blank = [], canvas.blank
    monkeypatch.setattr(detection_curves, "blank", lambda *size: kept.append(blank(*size)) or kept[-1])
    return kept


def curve(*precision):
    values = envelope(np.array(precision))
    return Curve(np.arange(len(precision))[::-1] / 10, values, values, 7)


def test_precision_recall(tmp_path, figures):
    curves = {"teacher": {"Car": curve(1, 0.5), "Cyclist": curve(1, 1)}, "distilled": {"Car": curve()}}
    path = plot_precision_recall(tmp_path / "pr.png", curves, "3D, moderate")
    assert path.stat().st_size > 5000 and figures[0].get_suptitle() == "3D, moderate"
    car, cyclist = figures[0].axes
    assert (car.get_title(), cyclist.get_title()) == ("Car (7 objects)", "Cyclist (7 objects)")
    assert [text.get_text() for text in car.get_legend().get_texts()] == ["teacher: AP 1.2", "distilled: AP 0.0"]
    line = car.lines[0]
    np.testing.assert_allclose(line.get_xdata(), [0, 1 / 40, 1 / 40])
    np.testing.assert_allclose(line.get_ydata(), [100, 50, 0])
    with pytest.raises(DataError, match="no curves"):
        plot_precision_recall(tmp_path / "x.png", {})


def test_average_precision(tmp_path, figures):
    results = {
        "teacher": {"Car": {"3d": {"AP40": [90, 80, 70]}, "aos": None}},
        "student": {"Car": {"3d": {"AP40": [60, 50, 40]}, "aos": None}},
    }
    plot_average_precision(tmp_path / "ap.png", results, level="hard")
    (axes,) = figures[0].axes
    assert [bar.get_height() for bar in axes.patches] == [70, 40]
    assert [text.get_text() for text in axes.texts] == ["70.0", "40.0"]
    for arguments, error, match in (
        (dict(results=results, level="all"), ConfigError, "easy, moderate, hard"),
        (dict(results=results, metric="aos"), ConfigError, "expected one of 3d"),
        (dict(results={}), DataError, "no results"),
    ):
        with pytest.raises(error, match=match):
            plot_average_precision(tmp_path / "x.png", **arguments)


def test_colours():
    colours = detector_colours(["teacher", "student", "a", "b"])
    assert len(set(colours.values())) == 4
    assert detector_colours(["b"])["b"] == colours["a"]  # the first that is neither
