"""What holds for every classifier of images."""

import pytest
import torch

from structkd.adapters.taps import tapped
from structkd.models import (
    VGG,
    ConvNet,
    EfficientNetLite,
    MobileNetV2,
    ResNet,
    ShuffleNetV1,
    ShuffleNetV2,
    ViT,
    WideResNet,
)
from structkd.models.images.base import Feature, ImageModel

FAMILIES = {
    "conv_net": lambda **a: ConvNet(7, channels=(8, 12), layers=2, **a),
    "resnet": lambda **a: ResNet(7, 8, **a),
    "resnet_large": lambda **a: ResNet(7, 8, stem="large", **a),
    "wide_resnet": lambda **a: WideResNet(7, 10, 1, dropout=0.3, **a),
    "vgg": lambda **a: VGG(7, 8, **a),
    "mobilenet_v2": lambda **a: MobileNetV2(7, 0.25, **a),
    "shufflenet_v1": lambda **a: ShuffleNetV1(7, **a),
    "shufflenet_v2": lambda **a: ShuffleNetV2(7, 0.5, **a),
    "efficientnet_lite": lambda **a: EfficientNetLite(7),
    "vit": lambda **a: ViT(7, "nano", depth=2, registers=2, drop_path=0.5, **a),
    "vit_mean": lambda **a: ViT(7, "nano", depth=2, pool="mean", positions="sincos", patch_size=8, **a),
}


@pytest.fixture(params=FAMILIES)
def name(request):
    return request.param


def build(name, seed=0, **arguments):
    torch.manual_seed(seed)
    return FAMILIES[name](**arguments)


def test_contract(name):
    model, images = build(name), torch.rand(2, 3, 32, 32)
    model.train()
    logits = model(images)
    assert logits.shape == (2, 7) and bool(logits.isfinite().all())
    logits.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    model.eval()
    with torch.no_grad():
        again, logits = model(images), model(images)
        assert torch.equal(again, logits)
        alone = model(images[1:])
        assert torch.allclose(alone, logits[1:], atol=1e-4 * max(1.0, float(logits.abs().max())))
        assert not torch.allclose(logits[0], logits[1], rtol=1e-6, atol=0.0)
        other = build(name, seed=1).eval()
        assert not torch.equal(other(images), logits)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other(images), logits)


def test_features_are_where_they_are_said_to_be(name):
    model, images = build(name).eval(), torch.rand(1, 3, 32, 32)
    features = model.feature_info()
    assert isinstance(model, ImageModel) and features[-1].path == "pool" and features[-1].stride == 0
    with torch.no_grad(), tapped(model, {f.path: f.path for f in features}) as outputs:
        model(images)
    prefix = getattr(model, "num_prefix_tokens", 0)
    for path, channels, stride in features:
        cells = 32 // stride if stride else 0
        tokens = (1, prefix + cells**2, channels)
        expected = (1, channels) if not stride else tokens if name.startswith("vit") else (1, channels, cells, cells)
        assert tuple(outputs[path].shape) == expected, path


@pytest.mark.parametrize("size", [(8, 8), (24, 40), (64, 64)])
def test_other_sizes(name, size):
    with torch.no_grad():
        assert build(name).eval()(torch.rand(2, 3, *size)).shape == (2, 7)


def test_gray_images(name):
    if name != "efficientnet_lite":  # whose weights are of colour images
        assert build(name, in_channels=1).eval()(torch.rand(1, 1, 16, 16)).shape == (1, 7)


def test_features_come_in_order():
    model = ImageModel()
    assert model.feature_info() == []
    model._describe([("layer1", 4, 1)], 9)
    assert model.feature_info() == [Feature("layer1", 4, 1), Feature("pool", 9, 0)]
