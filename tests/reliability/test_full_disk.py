"""A disk that is full: the error names the file, what was there stays whole, and the run goes on when there is room.

The processes may write no file above a given size, which gives the same error at the same place as a full disk does.
"""

import runpy
import shutil
from pathlib import Path

import pytest
import torch

from structkd.engine.cache import TeacherCache

WRITE_CACHE = Path(__file__).with_name("write_cache.py")


def all_files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_checkpoint_that_does_not_fit(server, reference, left_behind, wait_for, tmp_path):
    config, unbroken = reference("node")
    work_dir = tmp_path / "work"
    student = work_dir / "seed_0" / "student"
    run = server.train(config, work_dir)
    assert wait_for((student / "last.pth").exists, run), run.text
    run.kill()
    before = (student / "last.pth").read_bytes()
    for path in student.glob(".*.tmp"):  # of the killed process
        path.unlink()
    (student / "result.json").unlink(missing_ok=True)
    epoch = torch.load(student / "last.pth", weights_only=True)["meta"]["epoch"]
    assert 0 < epoch < 8, "the run was too far to write another checkpoint"

    run = server.train(config, work_dir, "--resume", largest=len(before) // 2)
    assert run.wait() == 2 and "Traceback" not in run.text, run.text
    assert f"{student / 'last.pth'} cannot be written" in run.text and "File too large" in run.text
    assert (student / "last.pth").read_bytes() == before
    assert not list(student.glob(".*.tmp")), "what could not be written takes up room"

    run = server.train(config, work_dir, "--resume")
    assert run.wait() == 0, run.text
    assert left_behind(work_dir) == left_behind(unbroken)


@pytest.mark.parametrize("name", ["config.json", "results.json"])
def test_results_that_do_not_fit(server, reference, tmp_path, name):
    config, unbroken = reference("node")
    work_dir = tmp_path / "work"
    shutil.copytree(unbroken, work_dir)
    (work_dir / "train.log").unlink()
    before = {path: (work_dir / path).read_bytes() for path in all_files(work_dir)}
    room = len(before["config.json"]) - 1 if name == "config.json" else len(before["results.json"]) - 200
    run = server.train(config, work_dir, "--resume", largest=room)
    assert run.wait() == 2 and "Traceback" not in run.text, run.text
    assert f"{work_dir / name} cannot be written" in run.text
    assert {path: (work_dir / path).read_bytes() for path in before} == before
    assert server.train(config, work_dir, "--resume").wait() == 0


def test_outputs_that_do_not_fit(server, tmp_path):
    folder, log = tmp_path / "outputs", tmp_path / "computed.txt"
    script = runpy.run_path(str(WRITE_CACHE))
    half = script["PARTS"] * script["ROWS"] * script["COLUMNS"] * 4 // 2
    run = server.start(WRITE_CACHE, folder, log, largest=half)
    assert run.wait() == 1 and f"WriteError: {folder / 'x.npy'} cannot be written (" in run.text, run.text
    assert not TeacherCache(folder).exists
    computed = len(log.read_text().splitlines())
    assert server.start(WRITE_CACHE, folder, log).wait() == 0
    assert 0 < int(log.read_text().splitlines()[computed]) < computed
    parts = [script["part"](number).x for number in range(script["PARTS"])]
    assert torch.equal(TeacherCache(folder).load(script["graph"]()).x, torch.cat(parts))
