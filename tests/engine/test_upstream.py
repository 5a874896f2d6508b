"""A stage that was made from other weights than lie beside it now is not taken up again."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from structkd.engine import Switches, load_config, run_experiment
from structkd.engine.checkpoint import weights_checksum
from structkd.errors import CheckpointError

OTHER = {"stages.teacher.optim_wrapper.optimizer.lr": 0.03}
STALE = r"stage 'glnn' was made from other weights of stage 'teacher' than lie in .*seed_0.teacher now.*run=\[glnn\]"


@pytest.fixture
def work(trained, tmp_path):
    """A copy of a finished run, and what can be done in it."""
    folder = tmp_path / "work"
    shutil.copytree(trained.work_dir, folder)

    def run(names=None, options=None, resume=False, config=trained.config):
        options = {**(options or {}), **({"run": names} if names else {})}
        return run_experiment(load_config(config, options), folder, [0], Switches(resume=resume))

    def edit(name, change):
        """Put what `change` makes of a stage's result or checkpoint in its place."""
        path = folder / "seed_0" / name
        if path.suffix == ".json":
            path.write_text(json.dumps(change(json.loads(path.read_text()))))
        else:
            torch.save(change(torch.load(path, weights_only=True)), path)

    return SimpleNamespace(seed=folder / "seed_0", run=run, edit=edit)


def without_note(holder):
    return {key: value for key, value in holder.items() if key != "built_on"}


def test_a_stage_notes_the_weights_it_builds_on(trained):
    seed = trained.work_dir / "seed_0"
    expected = {"teacher": weights_checksum(seed / "teacher" / "student.pth")}
    assert json.loads((seed / "glnn" / "result.json").read_text())["built_on"] == expected
    assert torch.load(seed / "glnn" / "last.pth", weights_only=True)["meta"]["built_on"] == expected
    assert json.loads((seed / "teacher" / "result.json").read_text())["built_on"] == {}


def test_a_complete_stage_of_a_teacher_trained_anew(work):
    before = (work.seed / "glnn" / "student.pth").read_bytes()
    work.run(["teacher"], OTHER)
    for names in (None, ["glnn"]):
        with pytest.raises(CheckpointError, match=rf"^stages\.glnn: .*glnn.result\.json: {STALE}"):
            work.run(names, OTHER, resume=True)
    work.run(["glnn"], OTHER)  # as the message says
    work.run(None, OTHER, resume=True)
    assert (work.seed / "glnn" / "student.pth").read_bytes() != before
    work.run(["teacher"])
    shutil.rmtree(work.seed / "glnn")  # the other way that it names
    work.run(None, resume=True)
    assert (work.seed / "glnn" / "student.pth").read_bytes() == before


def test_an_unfinished_stage_of_a_teacher_trained_anew(work):
    work.run(["teacher"], OTHER)
    (work.seed / "glnn" / "result.json").unlink()
    with pytest.raises(CheckpointError, match=rf"^stages\.glnn: The checkpoint in .*glnn: {STALE}"):
        work.run(None, OTHER, resume=True)


def test_a_teacher_trained_anew_to_the_same_weights(work):
    complete = {path: path.stat().st_mtime_ns for path in work.seed.glob("*/result.json")}
    work.run(["teacher"])
    work.run(None, resume=True)
    changed = [path.parent.name for path, before in complete.items() if path.stat().st_mtime_ns != before]
    assert changed == ["teacher"]


def test_what_was_written_before_there_were_notes_is_taken_up(work):
    work.run(["teacher"], OTHER)
    work.edit("glnn/result.json", without_note)
    work.edit("glnn/last.pth", lambda state: state | {"meta": without_note(state["meta"])})
    before = (work.seed / "glnn" / "result.json").stat().st_mtime_ns
    work.run(None, OTHER, resume=True)
    assert (work.seed / "glnn" / "result.json").stat().st_mtime_ns == before
    (work.seed / "glnn" / "result.json").unlink()
    work.run(None, OTHER, resume=True)
    assert (work.seed / "glnn" / "result.json").exists()


def test_a_stage_that_is_taken(work, tiny_config):
    student = dict(
        like="plain", role="distilled", teachers=dict(t=dict(stage="glnn")), distillers=dict(kd=dict(type="GLNN"))
    )
    config = tiny_config(stages=dict(student=student))
    work.run(["student"], config=config)
    # The teacher of the teacher changes in the very run that takes what was made from the one before.
    with pytest.raises(CheckpointError, match=STALE):
        work.run(["teacher", "student"], OTHER, config=config)
    assert not (work.seed / "student" / "result.json").exists()
    with pytest.raises(CheckpointError, match=STALE):
        work.run(["student"], OTHER, config=config)
    shutil.rmtree(work.seed / "teacher")  # nothing is left to compare with
    work.run(["student"], config=config)


def test_checksums(tmp_path):
    weights = {"a": torch.arange(3.0), "b": torch.zeros(2)}
    for name, state in (("x", weights), ("y", weights), ("z", weights | {"b": torch.tensor([0.0, 1e-9])})):
        torch.save({"state_dict": state, "stage": name}, tmp_path / f"{name}.pth")
    x, y, z = (weights_checksum(tmp_path / f"{name}.pth") for name in "xyz")
    assert x == y != z
    with open(tmp_path / "moved.pth", "wb") as file:  # the records are named otherwise in a file without a name
        torch.save({"state_dict": weights}, file)
    assert weights_checksum(tmp_path / "moved.pth") == x
    (tmp_path / "x.pth").write_bytes((tmp_path / "x.pth").read_bytes()[:-30])
    with pytest.raises(CheckpointError, match=r"x\.pth is no readable checkpoint"):
        weights_checksum(tmp_path / "x.pth")
