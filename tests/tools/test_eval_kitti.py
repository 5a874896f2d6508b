import json

import pytest

from structkd.datasets.points.kitti_files import read_labels, read_results
from structkd.evaluation.kitti import KittiEvaluation

LABEL = "Car 0.00 0 -1.56 {x1} 174.59 {x2} 224.74 1.61 1.66 3.20 {x} 1.69 25.01 -1.59"


@pytest.fixture
def folders(tmp_path):
    """Three labelled frames of 20 cars; results for two of them."""
    labels, results = tmp_path / "label_2", tmp_path / "results"
    labels.mkdir()
    results.mkdir()
    lines = [LABEL.format(x1=60 * i, x2=60 * i + 50, x=5 * i) for i in range(20)]
    for frame in ("000000", "000001", "000002"):
        (labels / f"{frame}.txt").write_text("\n".join(lines))
    (results / "000000.txt").write_text("\n".join(f"{line} 0.{50 + i}" for i, line in enumerate(lines[5:])))
    (results / "000002.txt").write_text("")
    return labels, results


def run(tool, *arguments):
    return tool("eval_kitti").main([str(argument) for argument in arguments])


def test_json_and_table(tool, folders, tmp_path, capsys):
    labels, results = folders
    assert run(tool, labels, results, "--json", tmp_path / "ap.json") == 0
    found = json.loads((tmp_path / "ap.json").read_text())
    frames = [name.name for name in sorted(results.iterdir())]
    expected = KittiEvaluation(
        [read_labels(labels / name) for name in frames], [read_results(results / name) for name in frames]
    ).results()
    assert found == expected
    assert list(found) == ["Car", "Pedestrian", "Cyclist"] and list(found["Car"]) == ["2d", "bev", "3d", "aos"]
    assert 20 < found["Car"]["3d"]["AP40"][0] < 50
    out = capsys.readouterr().out
    assert "2 frames" in out and f"{found['Car']['3d']['AP40'][0]:8.2f}" in out


def test_options(tool, folders, tmp_path, capsys):
    labels, results = folders
    chosen = ("--classes", "Car", "--height-rule", "<=", "--overlaps", "loose")
    assert run(tool, labels, results, *chosen, "--json", tmp_path / "ap.json") == 0
    assert list(json.loads((tmp_path / "ap.json").read_text())) == ["Car"]
    assert "loose overlaps, height rule <=" in capsys.readouterr().out


def test_no_headings(tool, folders, tmp_path, capsys):
    labels, results = folders
    path = results / "000000.txt"
    path.write_text(path.read_text().replace("-1.56", "-10"))
    assert run(tool, labels, results, "--json", tmp_path / "ap.json") == 0
    assert json.loads((tmp_path / "ap.json").read_text())["Car"]["aos"] is None
    assert "no alpha" in capsys.readouterr().out


def test_errors_name_what_is_wrong(tool, folders, tmp_path, capsys):
    labels, results = folders

    def refused(*arguments):
        assert run(tool, *arguments) == 2
        return capsys.readouterr().err

    (results / "000007.txt").write_text("")
    error = refused(labels, results)
    assert "1 of 3 result files" in error and "000007.txt" in error and str(labels) in error
    (results / "000007.txt").unlink()
    (results / "000002.txt").write_text("Car 1 2 3")
    assert "000002.txt, line 1 has 4 columns" in refused(labels, results)
    (tmp_path / "empty").mkdir()
    assert "holds no result file" in refused(labels, tmp_path / "empty")
    assert "There is no folder" in refused(labels, tmp_path / "nowhere")
    (results / "000002.txt").unlink()
    assert "Nearest: Car" in refused(labels, results, "--classes", "Cars")
