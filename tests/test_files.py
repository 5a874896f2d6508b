import json
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from structkd.errors import WriteError
from structkd.files import (
    atomic_open,
    atomic_torch_save,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    load_tensors,
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


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/below/x.json cannot be written \(.*Not a directory"):
        atomic_write_json(tmp_path / "file" / "below" / "x.json", {})
    path = atomic_write_text(tmp_path / "f", "old")
    with (
        pytest.raises(WriteError, match=r"f cannot be written .* What was there before is as it was"),
        atomic_open(path),
    ):
        raise OSError(28, "No space left on device")  # as a buffer's error, without a name
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_open(path):
        Path("/elsewhere/file").read_bytes()  # an error of another file stays what it is
    assert path.read_text() == "old" and issubclass(WriteError, OSError)


def test_tensors_with_flipped_bits_are_not_loaded(tmp_path):
    path = atomic_torch_save({"w": torch.arange(1000.0)}, tmp_path / "c.pth")
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(1000.0).numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["w"], torch.arange(1000.0))
    with pytest.raises(zipfile.BadZipFile, match=r"the checksum of .* is wrong"):
        load_tensors(path)
    torch.save({"w": torch.arange(3)}, path, _use_new_zipfile_serialization=False)
    assert torch.equal(load_tensors(path)["w"], torch.arange(3))


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
