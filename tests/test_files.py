import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from structkd.files import (
    atomic_open,
    atomic_torch_save,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
)


def test_writes_and_makes_folders(tmp_path):
    path = atomic_write_text(tmp_path / "a" / "b.txt", "Größe\n")
    assert path.read_text(encoding="utf-8") == "Größe\n"
    assert atomic_write_bytes(path, b"new").read_bytes() == b"new"
    assert [file.name for file in path.parent.iterdir()] == ["b.txt"]


def test_json_takes_what_results_hold(tmp_path):
    value = {
        "nan": float("nan"), "inf": [float("-inf")], "tuple": (1, 2), "path": Path("x"), 3: True, "none": None,
        "tensor": torch.tensor([1.5, float("nan")]), "scalar": np.float32(0.5), "long": np.int64(7),
    }  # fmt: skip
    read = json.loads(atomic_write_json(tmp_path / "r.json", value).read_text())
    assert read == {
        "nan": None, "inf": [None], "tuple": [1, 2], "path": "x", "3": True, "none": None,
        "tensor": [1.5, None], "scalar": 0.5, "long": 7,
    }  # fmt: skip
    with pytest.raises(TypeError):
        atomic_write_json(tmp_path / "r.json", {"x": object()})
    assert json.loads((tmp_path / "r.json").read_text()) == read


def test_torch_save_loads_weights_only(tmp_path):
    path = atomic_torch_save({"w": torch.arange(3.0), "epoch": 2}, tmp_path / "c.pth")
    state = torch.load(path, weights_only=True)
    assert state["epoch"] == 2 and torch.equal(state["w"], torch.arange(3.0))


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    path = atomic_write_text(tmp_path / "f", "old")
    with pytest.raises(RuntimeError, match="midway"), atomic_open(path) as file:
        file.write(b"half")
        raise RuntimeError("midway")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["f"]


def test_a_kill_leaves_the_old_file(tmp_path):
    path = atomic_write_text(tmp_path / "f", "old")
    code = (
        "import os, signal, sys\n"
        "from structkd.files import atomic_open\n"
        "with atomic_open(sys.argv[1]) as file:\n"
        "    file.write(b'half'); file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert atomic_write_text(path, "new").read_text() == "new"
