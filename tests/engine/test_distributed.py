"""Two processes train node mini-batches to the same weights as one process with the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import torch

REPO = Path(__file__).parents[2]
CONFIG = str(REPO / "configs/graphs/compare/gnn_to_mlp_digits.py")
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


def weights(work_dir):
    return torch.load(work_dir / "seed_0" / "ffg2m" / "last.pth", weights_only=True)["state_dict"]


def test_two_processes_equal_one(command, tmp_path):
    def arguments(name, *more):
        return [CONFIG, "--work-dir", str(tmp_path / name), "--seeds", "0", *more, "--cfg-options", *OPTIONS]

    done = command("train", *arguments("one"))
    assert done.code == 0, done.err
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "0",
        "--standalone",
    ]
    done = subprocess.run(
        [*launch, "tools/train.py", *arguments("two", "--launcher", "pytorch")],
        cwd=REPO, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6)
