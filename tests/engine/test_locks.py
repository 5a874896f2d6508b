"""Two processes in one work dir: neither takes away, or trains again, what the other is at."""

import shutil
from contextlib import contextmanager

import pytest

from structkd.engine import StageRun, Switches, load_config, run_experiment
from structkd.engine.locks import alone
from structkd.errors import CheckpointError


@pytest.fixture
def work(trained, tmp_path):
    shutil.copytree(trained.work_dir, tmp_path / "work")
    return tmp_path / "work"


def test_nothing_is_forgotten_while_another_process_runs_one_of_the_stages(trained, work):
    files = {path for name in ("result.json", "last.pth") for path in work.rglob(name)}
    assert len(files) == 6
    config = load_config(trained.config, {"run": ["plain", "glnn"]})
    refused = pytest.raises(CheckpointError, match=r"\[seed 0\] glnn is being run by another process")
    with alone(work / "seed_0" / "glnn" / "lock", "glnn"), refused:
        run_experiment(config, work, [0], Switches())
    assert all(path.exists() for path in files)


@pytest.fixture
def meanwhile(work, monkeypatch):
    """Another process ends the stage `glnn` after this one has looked and before it has the stage's lock."""
    result = work / "seed_0" / "glnn" / "result.json"
    content, lock = result.read_text(), StageRun.lock

    @contextmanager
    def later(stage):
        with lock(stage):
            if stage.name == "glnn":
                result.write_text(content)
            yield

    monkeypatch.setattr(StageRun, "lock", later)
    return result


def test_a_stage_that_another_process_ends_meanwhile_is_not_trained_again(trained, work, meanwhile, monkeypatch):
    meanwhile.unlink()
    monkeypatch.setattr(StageRun, "_finish", lambda *_: pytest.fail("the stage is trained"))
    results = run_experiment(load_config(trained.config), work, [0], Switches(resume=True))
    assert results["stages"]["glnn"]["metrics"] == trained.results["stages"]["glnn"]["metrics"]


def test_a_stage_that_is_trained_anew_begins_without_what_another_process_left(trained, work, meanwhile, monkeypatch):
    finish, there = StageRun._finish, []

    def watched(stage, *arguments):
        there.append(stage.result_file.exists())
        return finish(stage, *arguments)

    monkeypatch.setattr(StageRun, "_finish", watched)
    run_experiment(load_config(trained.config, {"run": ["glnn"]}), work, [0], Switches())
    assert there == [False] and meanwhile.exists()


def test_all_processes_of_a_run_go_by_what_the_first_one_finds(trained, work, monkeypatch):
    (work / "seed_0" / "glnn" / "result.json").unlink()  # as a process sees it that looks earlier than the first one

    def broadcast(found):
        found[0] = {"stage": "glnn", "found_by": "the first"}

    monkeypatch.setattr("structkd.engine.stages.broadcast_object_list", broadcast)
    config = load_config(trained.config)
    stage = StageRun("glnn", config.stages.glnn, None, 0, work / "seed_0", config)
    assert stage.run(Switches(resume=True)) == {"stage": "glnn", "found_by": "the first"}
