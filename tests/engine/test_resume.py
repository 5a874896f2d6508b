"""A killed run, taken up again, ends with the weights of an unbroken one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

REPO = Path(__file__).parents[2]
CONFIG = str(REPO / "configs/graphs/compare/gnn_to_mlp_digits.py")
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


def arguments(work_dir, *more):
    return [CONFIG, "--work-dir", str(work_dir), "--seeds", "3", *more, "--cfg-options", *OPTIONS]


def weights(work_dir):
    return torch.load(work_dir / "seed_3" / "ffg2m" / "student.pth", weights_only=True)["state_dict"]


def test_killed_run_resumes_to_the_same_weights(command, tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert command("train", *arguments(unbroken)).code == 0

    process = subprocess.Popen(
        [sys.executable, "tools/train.py", *arguments(broken)],
        cwd=REPO, stdout=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},  # as here: sums depend on it
    )  # fmt: skip
    checkpoint = broken / "seed_3" / "ffg2m" / "last.pth"
    deadline = time.monotonic() + 240
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    assert not (checkpoint.parent / "student.pth").exists(), "the run ended before it could be killed"
    stopped_at = torch.load(checkpoint, weights_only=True)["meta"]["epoch"]
    assert 0 < stopped_at < 40

    done = command("train", *arguments(broken, "--resume"))
    assert done.code == 0, done.err
    assert "teacher  already complete, skipped" in done.out
    expected = weights(unbroken)
    for key, value in weights(broken).items():
        assert torch.equal(value, expected[key]), key
    ours, theirs = ((folder / "seed_3/ffg2m/scalars.jsonl").read_text() for folder in (broken, unbroken))
    assert [json.loads(line) for line in ours.splitlines()] == [json.loads(line) for line in theirs.splitlines()]
