import importlib

import pytest
import torch

from structkd.adapters.taps import tapped
from structkd.errors import ConfigError
from structkd.models import ResNet, TimmModel, TorchvisionModel


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_features_are_where_timm_says(name, timm):
    options = {"img_size": 64} if name.startswith("vit") else {}
    model, images = TimmModel(name, 5, options=options).eval(), torch.rand(1, 3, 64, 64)
    features = model.feature_info()
    assert features
    with torch.no_grad(), tapped(model, {f.path: f.path for f in features}) as outputs:
        assert model(images).shape == (1, 5)
    for path, channels, stride in features:
        shape = outputs[path].shape
        expected = (channels, 64 // stride, 64 // stride)
        assert tuple(shape[1:]) == ((1 + (64 // stride) ** 2, channels) if len(shape) == 3 else expected), path


def test_prepares_images(timm):
    torch.manual_seed(0)
    model = TimmModel("resnet10t", 5, pixel_mean=(0.1,) * 3, pixel_std=(0.5,) * 3, resize=32).eval()
    plain, pixels = model.model, torch.full((1, 3, 16, 16), 0.7)
    mean, std = (torch.tensor(plain.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        expected = plain(((pixels - mean) / std).expand(1, 3, 16, 16).repeat(1, 1, 2, 2))
        assert torch.allclose(model((pixels - 0.1) / 0.5), expected, atol=1e-5)


def test_gray_and_a_checkpoint(timm, tmp_path):
    first = TimmModel("resnet10t", 5, in_channels=1).eval()
    torch.save(first.model.state_dict(), tmp_path / "weights.pth")
    second = TimmModel("resnet10t", 5, in_channels=1, checkpoint=str(tmp_path / "weights.pth")).eval()
    x = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(first(x), second(x))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": "resnet19"}, "has no model 'resnet19'.*resnet1"),
        ({"name": "resnet10t", "options": {"foo": 1}}, "does not build 'resnet10t' with options.*foo"),
    ],
)
def test_what_timm_refuses(arguments, message, timm):
    with pytest.raises(ConfigError, match=message):
        TimmModel(out_channels=5, **arguments)


def test_torchvision(timm):
    model = TorchvisionModel("resnet18", 5).eval()
    with torch.no_grad():
        logits = model(torch.ones(1, 3, 64, 64))
        ours = ResNet(5, 18, stem="large").eval()
        ours.load_state_dict(model.model.state_dict())
        assert torch.allclose(ours(torch.ones(1, 3, 64, 64)), logits, atol=1e-5)
    with pytest.raises(ConfigError, match="no model 'resnet19'"):
        TorchvisionModel("resnet19", 5)


def test_without_the_packages(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(importlib, "import_module", missing)
    for build in (TimmModel, TorchvisionModel):
        with pytest.raises(ConfigError, match=r"torchvision does not load.*pip install"):
            build("resnet18", 5)
