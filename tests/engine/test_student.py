"""A trained student, taken up by its config and its checkpoint."""

import json

import pytest
import torch

from structkd.engine import load_config, load_student
from structkd.engine import test_student as evaluate_student
from structkd.models import GCN, MLP


@pytest.fixture
def stage(trained):
    return lambda name: trained.work_dir / "seed_0" / name / "student.pth"


def reported(trained, name):
    return {metric: values["mean"] for metric, values in trained.results["stages"][name]["metrics"].items()}


@pytest.mark.parametrize("name", ["teacher", "plain", "glnn"])
def test_testing_gives_what_training_reported(command, trained, stage, tmp_path, name):
    done = command("test", trained.config, stage(name), "--json", tmp_path / "result.json")
    assert done.code == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result == {"stage": name, "seed": 0, "metrics": reported(trained, name)}
    for metric, value in result["metrics"].items():
        assert f"{name}  {metric}  {100 * value:.2f}" in done.out


def test_without_a_file_the_result_is_printed(command, trained, stage):
    printed = command("test", trained.config, stage("glnn")).out.splitlines()[-1]
    assert json.loads(printed)["metrics"] == reported(trained, "glnn")


def test_seed_and_stage_can_be_named(trained, stage):
    config = load_config(trained.config)
    other = evaluate_student(config, stage("glnn"), seed=5)
    assert other["seed"] == 5  # another split, whose test nodes this student has partly been trained on
    as_plain = evaluate_student(config, stage("glnn"), stage="plain")
    assert as_plain["stage"] == "plain" and as_plain["metrics"] == reported(trained, "glnn")


def test_a_training_checkpoint_is_taken_by_its_folder_and_gives_its_last_weights(trained, stage):
    config = load_config(trained.config)
    last = stage("plain").with_name("last.pth")
    assert evaluate_student(config, last)["stage"] == "plain"
    model, _ = load_student(config, last)
    state = torch.load(last, weights_only=True)["state_dict"]
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[f"student.{name}"])


def test_a_plain_state_dict_needs_its_stage(trained, stage, tmp_path):
    state = torch.load(stage("glnn"), weights_only=True)["state_dict"]
    torch.save(state, tmp_path / "weights.pth")
    result = evaluate_student(load_config(trained.config), tmp_path / "weights.pth", stage="glnn", seed=0)
    assert result["metrics"] == reported(trained, "glnn")


def test_load_student_is_bare_and_ready_to_run(trained, stage):
    config = load_config(trained.config)
    model, inputs = load_student(config, stage("glnn"))
    assert type(model) is MLP and not model.training
    assert [tuple(tensor.shape) for tensor in inputs] == [(60, 6)]
    assert not any(module._forward_hooks for module in model.modules())
    assert model(*inputs).shape == (60, 3)
    teacher, inputs = load_student(config, stage("teacher"))
    assert type(teacher) is GCN
    assert [tuple(tensor.shape) for tensor in inputs] == [(60, 6), (2, 300)]


def test_export_of_a_trained_student_agrees_and_needs_no_structkd(command, trained, stage, tmp_path):
    done = command("export", trained.config, stage("glnn"), "--out", tmp_path, "--formats", "state_dict", "export")
    assert done.code == 0, done.err
    card = json.loads((tmp_path / "model_card.json").read_text())
    assert all(entry["ok"] for entry in card["formats"].values()) and card["kwargs_rebuild_it"] is True
    model, (x,) = load_student(load_config(trained.config), stage("glnn"))
    program = torch.export.load(tmp_path / "student.pt2").module()
    torch.testing.assert_close(program(x), model(x))
