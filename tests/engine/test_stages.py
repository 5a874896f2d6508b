"""What a stage leaves in its folder, and what the scalars are drawn with."""

import json
import sys

import pytest
import torch

from structkd.engine import Switches, load_config, run_experiment
from structkd.engine.data import NodeTask
from structkd.engine.hooks import SelectionHook
from structkd.engine.stages import _visualizer


def test_files_of_a_run(trained):
    top = {path.name for path in trained.work_dir.iterdir()}
    assert {"config.json", "results.json", "train.log", "seed_0"} <= top
    config = json.loads((trained.work_dir / "config.json").read_text())
    assert list(config["stages"]) == ["teacher", "plain", "glnn"]  # the order they run in
    for stage in config["stages"]:
        files = {path.name for path in (trained.work_dir / "seed_0" / stage).iterdir()}
        assert {"result.json", "scalars.jsonl", "student.pth", "last.pth"} <= files
        assert ("outputs" in files) == (stage == "teacher")
    assert "[seed 0] glnn  done: " in (trained.work_dir / "train.log").read_text()


def test_result_agrees_with_the_scalars_and_the_student(trained):
    for stage in ("teacher", "plain", "glnn"):
        folder = trained.work_dir / "seed_0" / stage
        result = json.loads((folder / "result.json").read_text())
        lines = [json.loads(line) for line in (folder / "scalars.jsonl").read_text().splitlines()]
        assert [line["epoch"] for line in lines] == [1, 2] and result["epochs"] == 2
        scores = [line["val/accuracy"] for line in lines]
        assert result["selected"] == {
            "metric": "val/accuracy", "score": max(scores), "epoch": 2 if scores[1] >= scores[0] else 1,
        }  # fmt: skip
        assert result["metrics"]["val/accuracy"] == max(scores)
        student = torch.load(folder / "student.pth", weights_only=True)
        assert (student["stage"], student["seed"]) == (stage, 0)
        assert student["facts"] == {"in_channels": 6, "out_channels": 3}
        assert result["parameters"] == sum(value.numel() for value in student["state_dict"].values())


def test_no_part_of_the_teacher_is_in_the_student_or_its_checkpoint(trained):
    folder = trained.work_dir / "seed_0" / "glnn"
    student = torch.load(folder / "student.pth", weights_only=True)["state_dict"]
    assert set(student) == {"lins.0.weight", "lins.0.bias", "lins.1.weight", "lins.1.bias"}
    task = torch.load(folder / "last.pth", weights_only=True)["state_dict"]
    assert set(task) == {f"student.{name}" for name in student}


def test_scalars_go_to_tensorboard_where_it_is_installed(trained):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (events,) = (trained.work_dir / "seed_0" / "glnn").rglob("events.out.tfevents.*")
    written = {
        (value.tag, event.step) for event in EventFileLoader(str(events)).Load() for value in event.summary.value
    }
    assert {
        (tag, step) for tag in ("train/loss", "train/loss/kd.soft_label", "val/accuracy") for step in (1, 2)
    } <= written


def test_without_tensorboard_nothing_is_drawn(monkeypatch):
    assert _visualizer()["type"] == "Visualizer"
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert _visualizer()["vis_backends"] == []


def test_the_last_epoch_is_reported_beside_the_selected_one(tiny_config, tmp_path, monkeypatch):
    stages = {"plain": {"train_cfg": {"max_epochs": 12}}, "teacher": {}, "glnn": {}}
    path = tiny_config(stages, seeds=[0], run=["plain"])
    monkeypatch.setattr(NodeTask, "reports_last", True)
    monkeypatch.setattr(SelectionHook, "_improves", lambda self, score: self.best["score"] is None)  # the first stays
    results = run_experiment(load_config(path), tmp_path / "work", [0], Switches())
    metrics = results["stages"]["plain"]["metrics"]
    assert results["stages"]["plain"]["selected"][0]["epoch"] == 1
    monkeypatch.undo()
    monkeypatch.setattr(NodeTask, "selection", {"rule": "last"})
    last = run_experiment(load_config(path), tmp_path / "last", [0], Switches())["stages"]["plain"]["metrics"]
    assert metrics["last/accuracy"]["values"] == last["test/accuracy"]["values"]
    assert "last/accuracy" not in last
    weights = torch.load(tmp_path / "work" / "seed_0" / "plain" / "student.pth", weights_only=True)["state_dict"]
    final = torch.load(tmp_path / "last" / "seed_0" / "plain" / "student.pth", weights_only=True)["state_dict"]
    assert any(not torch.equal(weights[name], final[name]) for name in weights)  # the selected ones are kept
