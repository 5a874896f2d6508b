import random

import numpy as np
import pytest
import torch
from torch import nn

from structkd.engine.checkpoint import load, load_weights, random_state, restore_random_state, save
from structkd.errors import CheckpointError


def test_round_trip_is_plain(tmp_path):
    state = {"a": torch.arange(3), "b": [1, 2.5, "x", None], "c": {"d": np.float64(2.0), "e": (True,)}}
    save(state, tmp_path / "s.pth")
    back = torch.load(tmp_path / "s.pth", weights_only=True)
    assert torch.equal(back["a"], state["a"])
    assert back["b"] == state["b"]
    assert back["c"] == {"d": 2.0, "e": (True,)}


def test_objects_are_refused_when_written(tmp_path):
    with pytest.raises(CheckpointError, match="plain data only"):
        save({"f": print}, tmp_path / "s.pth")
    assert not (tmp_path / "s.pth").exists()


def test_missing_truncated_and_unsafe_files(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load(tmp_path / "none.pth")
    save({"a": torch.arange(1000)}, tmp_path / "s.pth")
    whole = (tmp_path / "s.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"cut\.pth"):
        load(tmp_path / "cut.pth")
    torch.save({"f": nn.Linear(1, 1)}, tmp_path / "object.pth")
    with pytest.raises(CheckpointError, match="more than tensors"):
        load(tmp_path / "object.pth")


def test_weights_of_another_model_are_named():
    with pytest.raises(CheckpointError, match=r"another model.*missing 0\.bias, 0\.weight.*unexpected lin"):
        load_weights(nn.Sequential(nn.Linear(2, 2)), {"lin.weight": torch.zeros(2, 2)}, "file.pth")
    with pytest.raises(CheckpointError, match=r"weight: \(3, 2\) in the file, \(2, 2\) in the model"):
        load_weights(nn.Linear(2, 2, bias=False), {"weight": torch.zeros(3, 2)}, "file.pth")


def test_random_state_round_trip(tmp_path):
    save({"r": random_state()}, tmp_path / "r.pth")
    expected = (torch.rand(3), np.random.rand(3), random.random())
    restore_random_state(load(tmp_path / "r.pth")["r"])
    again = (torch.rand(3), np.random.rand(3), random.random())
    assert torch.equal(expected[0], again[0])
    assert np.array_equal(expected[1], again[1])
    assert expected[2] == again[2]
