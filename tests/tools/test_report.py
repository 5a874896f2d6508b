import json

import pytest

from structkd import files

STAGE = {
    "title": "MLP", "role": "plain", "model": "MLP", "method": None, "teacher": None, "parameters": 10,
    "metrics": {"test/accuracy": {"values": [0.5, 0.75], "mean": 0.625, "std": 0.125}},
    "latency_ms": {}, "epochs": [1, 1], "seconds": [1.0, 1.0],
}  # fmt: skip


@pytest.fixture
def work_dir(tmp_path):
    results = {"name": "tiny", "seeds": [0, 1], "primary_metric": "test/accuracy", "stages": {"mlp": STAGE}}
    folder = tmp_path / "tiny"
    files.atomic_write_json(folder / "results.json", results)
    return folder


def test_writes_page_and_figures_and_says_where(tool, work_dir, capsys):
    assert tool("report").main([str(work_dir)]) == 0
    assert sorted(path.name for path in (work_dir / "report").iterdir()) == ["report.html", "tiny_scores.png"]
    assert "62.50 ± 12.50" in (work_dir / "report" / "report.html").read_text(encoding="utf-8")
    assert "report.html" in capsys.readouterr().out


def test_a_file_has_no_folder_for_its_report(tool, work_dir, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tool("report").main([str(work_dir / "results.json")])
    assert "--out" in capsys.readouterr().err
    assert tool("report").main([str(work_dir / "results.json"), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_second_report_replaces_the_first(tool, work_dir, tmp_path):
    report = tool("report")
    assert report.main([str(work_dir), "--out", str(tmp_path / "out")]) == 0
    results = json.loads((work_dir / "results.json").read_text())
    results["stages"]["mlp"]["metrics"]["test/accuracy"] = {"values": [0.25, 0.25], "mean": 0.25, "std": 0.0}
    files.atomic_write_json(work_dir / "results.json", results)
    assert report.main([str(work_dir), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "25.00 ± 0.00" in page and "62.50" not in page


def test_markdown_rewrites_one_section(tool, work_dir, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# A\n\n<!-- results:digits -->\nold\n<!-- results:digits -->\n\nrest\n")
    arguments = [str(work_dir), "--markdown", str(readme), "--section", "digits"]
    assert tool("report").main(arguments) == 0
    text = readme.read_text(encoding="utf-8")
    assert "| MLP | plain | 62.50 ± 12.50 |" in text and "old" not in text and text.endswith("\n\nrest\n")
    assert tool("report").main(arguments) == 0
    assert readme.read_text(encoding="utf-8") == text
    assert not (work_dir / "report").exists()


def test_another_metric_first(tool, tmp_path, capsys):
    validation = {"values": [0.25, 0.25], "mean": 0.25, "std": 0.0}
    stage = STAGE | {"metrics": STAGE["metrics"] | {"val/accuracy": validation}}
    results = {"name": "tiny", "seeds": [0, 1], "primary_metric": "test/accuracy", "stages": {"mlp": stage}}
    files.atomic_write_json(tmp_path / "tiny" / "results.json", results)
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:a --><!-- results:a -->")
    arguments = [str(tmp_path / "tiny"), "--markdown", str(readme), "--section", "a", "--metric"]
    assert tool("report").main([*arguments, "val/accuracy"]) == 0
    assert "| Model | Role | val accuracy, % | test accuracy, % |" in readme.read_text(encoding="utf-8")
    assert tool("report").main([*arguments, "val/acuracy"]) == 2
    assert "has no metric 'val/acuracy'" in capsys.readouterr().err


def test_several_work_dirs_share_a_table(tool, work_dir, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:all --><!-- results:all -->")
    assert tool("report").main([str(work_dir), str(work_dir), "--markdown", str(readme), "--section", "all"]) == 0
    assert "| Model | Role | tiny_1 | tiny_2 |" in readme.read_text(encoding="utf-8")


def test_bad_input_is_one_clear_error(tool, work_dir, tmp_path, capsys):
    report = tool("report")
    assert report.main([str(tmp_path)]) == 2
    assert "results.json" in capsys.readouterr().err
    assert report.main([str(work_dir), "--markdown", str(tmp_path / "none.md"), "--section", "x"]) == 2
    assert "none.md" in capsys.readouterr().err
    (tmp_path / "r.md").write_text("no markers")
    assert report.main([str(work_dir), "--markdown", str(tmp_path / "r.md"), "--section", "x"]) == 2
    assert "results:x" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        report.main([str(work_dir), "--section", "x"])
