"""Two processes train node mini-batches to the same weights as one process with the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import torch

REPO = Path(__file__).parents[2]
OPTIONS = [
    "run=teacher,plain,ffg2m",
    "stages.teacher.train_cfg.max_epochs=3",
    "stages.plain.train_cfg.max_epochs=2",
    "stages.plain.model.dropout=0.0",
    "stages.ffg2m.train_cfg.max_epochs=3",
    "stages.ffg2m.train_dataloader.type=NodeBatches",
    "stages.ffg2m.train_dataloader.batch_size=256",
    "stages.ffg2m.train_dataloader.fanouts=[-1]",
    "stages.ffg2m.optim_wrapper.optimizer.type=SGD",
]


def train(work_dir, launcher):
    start = [sys.executable]
    arguments = []
    if launcher == "pytorch":
        start += ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--standalone"]
        arguments = ["--launcher", "pytorch"]
    command = [
        *start, "tools/train.py", "configs/graphs/compare/gnn_to_mlp_digits.py", "--work-dir", str(work_dir),
        "--seeds", "0", *arguments, "--cfg-options", *OPTIONS,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(work_dir / "seed_0" / "ffg2m" / "last.pth", weights_only=True)["state_dict"]


def test_two_processes_equal_one(tmp_path):
    one, two = train(tmp_path / "one", "none"), train(tmp_path / "two", "pytorch")
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6)
