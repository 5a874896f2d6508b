"""A killed run, taken up again, ends with the weights of an unbroken one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

REPO = Path(__file__).parents[2]
CONFIG = "configs/graphs/compare/gnn_to_mlp_digits.py"
#: Mini-batches and dropout, so that the loader's order and the random generators both matter.
OPTIONS = [
    "run=teacher,plain,ffg2m",
    "stages.plain.train_cfg.max_epochs=40",
    "stages.teacher.train_cfg.max_epochs=10",
    "stages.ffg2m.train_cfg.max_epochs=40",
    "stages.ffg2m.train_dataloader.type=NodeBatches",
    "stages.ffg2m.train_dataloader.batch_size=256",
    "stages.ffg2m.train_dataloader.fanouts=[-1]",
    "stages.ffg2m.checkpoint_interval=3",
]


def command(work_dir, *more):
    return [
        sys.executable, "tools/train.py", CONFIG, "--work-dir", str(work_dir), "--seeds", "3",
        "--cfg-options", *OPTIONS, *more,
    ]  # fmt: skip


def weights(work_dir, stage="ffg2m"):
    return torch.load(work_dir / "seed_3" / stage / "student.pth", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    subprocess.run(command(folder), cwd=REPO, check=True, capture_output=True, text=True)
    return folder


def test_killed_run_resumes_to_the_same_weights(tmp_path, unbroken):
    process = subprocess.Popen(command(tmp_path), cwd=REPO, stdout=subprocess.DEVNULL, start_new_session=True)
    checkpoint = tmp_path / "seed_3" / "ffg2m" / "last.pth"
    deadline = time.monotonic() + 240
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    assert not (checkpoint.parent / "student.pth").exists(), "the run ended before it could be killed"
    stopped_at = torch.load(checkpoint, weights_only=True)["meta"]["epoch"]
    assert 0 < stopped_at < 40

    command_line = command(tmp_path)
    command_line.insert(command_line.index("--cfg-options"), "--resume")
    done = subprocess.run(command_line, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "teacher  already complete, skipped" in done.stdout
    expected = weights(unbroken)
    for key, value in weights(tmp_path).items():
        assert torch.equal(value, expected[key]), key
    ours, theirs = ((folder / "seed_3/ffg2m/scalars.jsonl").read_text() for folder in (tmp_path, unbroken))
    assert [json.loads(line) for line in ours.splitlines()] == [json.loads(line) for line in theirs.splitlines()]


def test_resume_refuses_another_config(unbroken):
    command_line = command(unbroken, "stages.plain.optim_wrapper.optimizer.lr=0.5")
    command_line.insert(command_line.index("--cfg-options"), "--resume")
    done = subprocess.run(command_line, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 2
    assert "belongs to another config of stage 'plain'" in done.stderr
