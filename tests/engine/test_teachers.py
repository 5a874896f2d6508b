"""Teachers as a config names them: an earlier stage, a file, a model with a checkpoint, a momentum copy."""

import json
import shutil

import numpy as np
import pytest
import torch

from structkd.engine import LiveTeacher, StoredTeacher, Switches, load_config, run_experiment
from structkd.engine.task import DistillTask


def student(work_dir, stage="glnn", file="student.pth"):
    state = torch.load(work_dir / "seed_0" / stage / file, weights_only=True)
    return state["state_dict"]


def same_weights(a, b):
    assert a.keys() == b.keys()
    for key, value in a.items():
        assert torch.equal(value, b[key]), key


@pytest.fixture
def run(tiny_config, tmp_path):
    """Runs the tiny config with other teachers of its last stage; returns the work dir."""

    def start(teachers, name="work", resume=False, **glnn):
        path = tiny_config(stages=dict(glnn=dict(teachers=teachers) | glnn))
        run_experiment(load_config(path), tmp_path / name, [0], Switches(resume=resume))
        return tmp_path / name

    return start


def test_a_file_teaches_as_the_stage_that_it_came_from(run, trained, tmp_path):
    outputs = trained.work_dir / "seed_0" / "teacher" / "outputs"
    path = tmp_path / "teacher.npz"
    np.savez(path, scores=np.load(outputs / "logits.npy"), state=np.load(outputs / "hidden.npy"))
    assert np.load(outputs / "n_id.npy").tolist() == list(range(60))
    work_dir = run(dict(t=dict(file=str(path), keys=dict(logits="scores", hidden="state"))))
    same_weights(student(work_dir), student(trained.work_dir))


def test_a_model_from_a_checkpoint_teaches_as_the_stage_that_trained_it(run, trained):
    checkpoint = trained.work_dir / "seed_0" / "teacher" / "student.pth"
    live = dict(model=dict(type="GCN", hidden_channels=8), checkpoint=str(checkpoint))
    same_weights(student(run(dict(t=live))), student(trained.work_dir))
    untrained = run(dict(t=dict(model=live["model"])), "untrained")
    assert not torch.equal(student(untrained)["lins.0.weight"], student(trained.work_dir)["lins.0.weight"])


def test_what_each_source_becomes(trained, tiny_config, tmp_path):
    from structkd.engine import StageRun, build_data

    np.save(tmp_path / "t.npy", np.ones((60, 3)))
    sources = dict(
        stage=dict(stage="teacher"),
        file=dict(file=str(tmp_path / "t.npy")),
        live=dict(model=dict(type="GCN", hidden_channels=8), adapter=dict(taps=dict(x="acts.0"))),
    )
    config = load_config(tiny_config(stages=dict(glnn=dict(teachers=sources))))
    data = build_data(config)
    data.setup(0)
    teachers = StageRun("glnn", config.stages.glnn, data, 0, trained.work_dir / "seed_0", config).build_teachers()
    assert list(teachers) == ["stage", "file", "live"]
    assert [type(teacher) for teacher in teachers.values()] == [StoredTeacher, StoredTeacher, LiveTeacher]
    assert {"logits", "hidden"} <= teachers["stage"].provides
    assert "x" in teachers["live"].provides and "x" not in teachers["file"].provides
    batch = data.example()
    assert torch.equal(teachers["file"](batch).logits, torch.ones(60, 3))
    assert torch.equal(teachers["file"](batch).edge_index, batch.edge_index)
    assert teachers["live"](batch).x.shape == (60, 8)


MOMENTUM = dict(
    ema=dict(model=dict(type="MLP", hidden_channels=8, dropout=0.5), adapter=dict(inputs=["x"]), momentum=0.5)
)


def test_a_momentum_teacher_follows_and_goes_on_from_a_checkpoint(run, tmp_path, monkeypatch):
    longer = dict(train_cfg=dict(max_epochs=5), checkpoint_interval=1)
    unbroken = run(MOMENTUM, "unbroken", **longer)
    checkpoint = torch.load(unbroken / "seed_0/glnn/last.pth", weights_only=True)
    ema = checkpoint["teachers"]["ema"]
    assert ema.keys() == student(unbroken).keys()
    assert not torch.equal(ema["lins.0.weight"], checkpoint["state_dict"]["student.lins.0.weight"])
    lines = (unbroken / "seed_0/glnn/scalars.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["train/loss/kd.soft_label"] > 0

    class Killed(Exception):
        pass

    progress = DistillTask.set_progress

    def killed_in_the_fourth_epoch(self, epoch, max_epochs):
        if epoch == 3:
            raise Killed
        progress(self, epoch, max_epochs)

    with monkeypatch.context() as patch:
        patch.setattr(DistillTask, "set_progress", killed_in_the_fourth_epoch)
        with pytest.raises(Killed):
            run(MOMENTUM, "broken", **longer)
    assert not (tmp_path / "broken/seed_0/glnn/student.pth").exists()
    resumed = run(MOMENTUM, "broken", resume=True, **longer)
    same_weights(student(resumed), student(unbroken))
    again = torch.load(resumed / "seed_0/glnn/last.pth", weights_only=True)
    same_weights(again["teachers"]["ema"], ema)
    same_weights(again["state_dict"], checkpoint["state_dict"])
    assert (resumed / "seed_0/glnn/scalars.jsonl").read_text().splitlines() == lines


def test_a_momentum_teacher_without_memory_is_the_student_of_the_last_step(run):
    work_dir = run(dict(ema=MOMENTUM["ema"] | dict(momentum=0.0)))
    checkpoint = torch.load(work_dir / "seed_0/glnn/last.pth", weights_only=True)
    last = {name.removeprefix("student."): value for name, value in checkpoint["state_dict"].items()}
    same_weights(checkpoint["teachers"]["ema"], last)


def test_a_stage_may_start_from_an_earlier_one(run, trained):
    work_dir = run(dict(t=dict(stage="teacher")), init_from="plain", train_cfg=dict(max_epochs=0))
    same_weights(student(work_dir), student(work_dir, "plain"))
    same_weights(student(work_dir, "plain"), student(trained.work_dir, "plain"))


def test_a_run_that_starts_anew_forgets_the_one_before(trained, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def killed(self, epoch, max_epochs):
        raise Killed

    shutil.copytree(trained.work_dir, tmp_path / "work")
    with monkeypatch.context() as patch:
        patch.setattr(DistillTask, "set_progress", killed)
        with pytest.raises(Killed):
            run_experiment(load_config(trained.config), tmp_path / "work", [0], Switches())
    # What is there of the later stages came from a teacher that is no more.
    assert not list((tmp_path / "work").rglob("result.json")) and not list((tmp_path / "work").rglob("last.pth"))
