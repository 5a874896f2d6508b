import collections
import datetime
import pathlib

import mmcv_ops.checkpoints as checkpoints
import numpy as np
import pytest
import torch
from mmcv_ops import load_checkpoint

from structkd.errors import CheckpointError


class Dangerous:
    """Unpickling it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(self.path),)


@pytest.fixture(autouse=True)
def not_trusted(monkeypatch):
    monkeypatch.setattr(checkpoints, "_trusted", False)
    monkeypatch.delenv(checkpoints.ENV, raising=False)


def content():
    layer = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "meta": {"epoch": 3, "time": "now", "seed": np.int64(5), "dataset_meta": {"classes": ("Car",)}},
        "state_dict": layer.state_dict(),
        "optimizer": optimizer.state_dict(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "shape": torch.Size([2]),
        "dtype": torch.bfloat16,
        "half": torch.ones(2, dtype=torch.bfloat16),
        "array": np.arange(3.0),
        "order": collections.OrderedDict(a=1),
        "device": torch.device("cpu"),
    }


@pytest.mark.parametrize("legacy", [False, True])
def test_what_is_plain_is_read(tmp_path, legacy):
    path = tmp_path / "epoch_3.pth"
    torch.save(content(), path, _use_new_zipfile_serialization=not legacy)
    found = load_checkpoint(path, "cpu")
    assert found["meta"]["seed"] == 5 and found["dtype"] is torch.bfloat16
    assert torch.equal(found["state_dict"]["weight"].isfinite(), torch.ones(3, 2).bool())
    assert found["optimizer"]["state"][0]["exp_avg"].shape == (3, 2)
    assert found["array"].tolist() == [0, 1, 2]


def test_mmengines_message_hub_is_read(tmp_path):
    logging = pytest.importorskip("mmengine.logging")
    hub = logging.MessageHub.get_instance("mmcv_ops_checkpoints")
    hub.update_scalar("train/loss", 1.5)
    hub.update_info("iter", 3)
    torch.save({"message_hub": hub.state_dict(), "meta": {}}, tmp_path / "epoch_1.pth")
    with pytest.raises(Exception, match=r"(?i)weights"):
        torch.load(tmp_path / "epoch_1.pth", weights_only=True)
    found = load_checkpoint(tmp_path / "epoch_1.pth")
    assert found["message_hub"]["log_scalars"]["train/loss"].mean() == 1.5


@pytest.mark.parametrize("legacy", [False, True])
def test_what_runs_code_is_refused_and_not_run(tmp_path, legacy):
    path, trace = tmp_path / "foreign.pth", tmp_path / "trace"
    torch.save({"state_dict": {}, "extra": Dangerous(trace)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"foreign.pth asks for .*neither tensors nor plain data.*TRUST"):
        load_checkpoint(path)
    assert not trace.exists()
    checkpoints.safe_checkpoints(trust=True)
    load_checkpoint(path)
    assert trace.exists()


def test_attributes_are_no_way_round(tmp_path):
    class Getter:
        def __reduce__(self):
            return getattr, (collections.OrderedDict, "fromkeys")

    torch.save({"x": Getter()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="attribute fromkeys"):
        load_checkpoint(tmp_path / "a.pth")


def test_other_objects_are_named(tmp_path):
    torch.save({"x": datetime.date(2020, 1, 1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"asks for datetime\.date"):
        load_checkpoint(tmp_path / "a.pth")


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        load_checkpoint(tmp_path / "none.pth")
    torch.save(content(), tmp_path / "a.pth")
    whole = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="no readable checkpoint"):
        load_checkpoint(tmp_path / "a.pth")


def test_mmengine_loads_by_it(tmp_path, monkeypatch):
    module = pytest.importorskip("mmengine.runner.checkpoint")
    monkeypatch.setattr(module.CheckpointLoader, "_schemes", dict(module.CheckpointLoader._schemes))
    monkeypatch.setattr(module, "load_from_local", module.load_from_local)
    monkeypatch.setattr(module, "load_from_http", module.load_from_http)
    checkpoints._replace_loaders(module)
    torch.save({"x": Dangerous(tmp_path / "trace")}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError):
        module.CheckpointLoader.load_checkpoint(str(tmp_path / "a.pth"), "cpu")
    torch.save({"x": torch.ones(1)}, tmp_path / "a.pth")
    assert module.CheckpointLoader.load_checkpoint(str(tmp_path / "a.pth"), "cpu")["x"] == 1

    def download(url, file, progress):
        torch.save({"url": url}, file)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    address = "https://somewhere/else/b.pth"
    assert module.CheckpointLoader.load_checkpoint(address, "cpu") == {"url": address}
