import json

import pytest
import torch

from structkd.engine.checkpoint import save
from structkd.models import MLP

KWARGS = dict(in_channels=4, hidden_channels=5, out_channels=3)


@pytest.fixture
def export(tool, tmp_path, monkeypatch):
    """The tool with a student in place of what a config and a checkpoint would give."""
    module, model = tool("export"), MLP(**KWARGS)
    record = {"format": "x", "stage": "glnn", "seed": 3, "model": {"type": "MLP", "hidden_channels": 5}}
    save(record | {"facts": {"in_channels": 4, "out_channels": 3}, "state_dict": {}}, tmp_path / "student.pth")
    monkeypatch.setattr(module, "load_config", lambda path, options: {"path": path} | options)
    monkeypatch.setattr(module, "load_student", lambda config, checkpoint, stage: (model, (torch.randn(6, 4),)))
    return module


def test_writes_the_student_and_its_card_beside_the_checkpoint(export, tmp_path, capsys):
    assert export.main(["some/config.py", str(tmp_path / "student.pth"), "--formats", "state_dict", "export"]) == 0
    out = tmp_path / "export"
    assert sorted(path.name for path in out.iterdir()) == ["model_card.json", "student.pt", "student.pt2"]
    card = json.loads((out / "model_card.json").read_text())
    assert card["kwargs"] == KWARGS and card["kwargs_rebuild_it"] is True
    assert card["source"] == {"config": "config.py", "checkpoint": "student.pth", "stage": "glnn", "seed": 3}
    printed = capsys.readouterr().out
    assert "largest difference 0.0e+00: agrees" in printed


def test_exit_status_tells_of_a_file_that_disagrees(export, tmp_path, monkeypatch, capsys):
    card = {"class": "MLP", "parameters": 1, "formats": {"onnx": {"file": "f", "max_abs_difference": 0.5, "ok": False}}}
    monkeypatch.setattr(export, "export_student", lambda *arguments, **options: card)
    assert export.main(["c.py", str(tmp_path / "student.pth")]) == 1
    assert "5.0e-01: DISAGREES" in capsys.readouterr().out


def test_bad_input_is_one_clear_error(export, tmp_path, capsys):
    assert export.main(["c.py", str(tmp_path / "none.pth")]) == 2
    assert "There is no checkpoint" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        export.main(["c.py", str(tmp_path / "student.pth"), "--formats", "onyx"])
