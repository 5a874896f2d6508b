"""ModularView: composed modules are the plain model, bit for bit, and each weight belongs to one of them."""

import pytest
import torch
from torch import nn

from structkd.backends import import_timm
from structkd.errors import ConfigError, WiringError
from structkd.models import (
    NAC,
    VGG,
    ConvNet,
    EfficientNetLite,
    MobileNetV2,
    ModularView,
    ResNet,
    ShuffleNetV1,
    ShuffleNetV2,
    Stitch,
    TimmModel,
    ViT,
    VMoE,
    WideResNet,
)
from structkd.models.chain import Step
from structkd.models.modules.view import run_steps

TINY = dict(width=16, depth=3, heads=2, image_size=8, patch_size=2)
MODELS = {
    "vit": (lambda: ViT(5, **TINY), ["blocks.1", "blocks.2"], 8),
    "vit, registers": (lambda: ViT(5, registers=2, **TINY), ["blocks.1", "norm"], 8),
    "vit, fixed positions": (lambda: ViT(5, positions="sincos", pool="mean", **TINY), ["blocks.0", "head"], 8),
    "vmoe": (lambda: VMoE(5, experts=3, moe_blocks="all", **TINY), ["blocks.1", "blocks.2"], 8),
    "conv_net": (lambda: ConvNet(5, channels=(4, 8, 8), layers=2), ["layer2", "layer3.3"], 8),
    "resnet": (lambda: ResNet(5, depth=8), ["layer2", "layer3"], 16),
    "resnet, large stem": (lambda: ResNet(5, depth=18, stem="large"), ["layer1", "layer4"], 64),
    "vgg, four halvings": (lambda: VGG(5, depth=11), ["layer2", "layer5"], 64),
    "vgg, three halvings": (lambda: VGG(5), ["layer3"], 32),
    "wide_resnet": (lambda: WideResNet(5), ["layer2", "pool"], 16),
    "mobilenet_v2": (lambda: MobileNetV2(5), ["layer3"], 32),
    "shufflenet_v1": (lambda: ShuffleNetV1(5), ["layer2"], 32),
    "shufflenet_v2": (lambda: ShuffleNetV2(5), ["layer2", "head"], 32),
    "efficientnet_lite": (lambda: EfficientNetLite(5), ["layer3", "layer5"], 32),
    "children": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 7), nn.ReLU(), nn.Linear(7, 5)), ["1", "3"], 8),
}


@pytest.mark.parametrize("name", MODELS)
def test_modules_one_after_another_are_the_model(name):
    build, splits, size = MODELS[name]
    model = build().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    view = ModularView(model, splits, image_size=size)
    assert model.training and all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    model.eval()
    images = torch.randn(3, 3, size, size)
    with torch.no_grad():
        expected, x = model(images), images
        for i in range(len(view)):
            shape = (3, *view.boundaries[i - 1].shape) if i else images.shape
            assert x.shape == shape
            part = view.part(i, i + 1).eval()
            x = run_steps(part, view.stage_steps(i, i + 1), x)
            assert i < len(view) - 1 or torch.equal(x, expected)
        assert torch.equal(view.forward_range(view.forward_range(images, 0, 1), 1), expected)
    assert (view.classes, len(view)) == (5, len(splits) + 1)
    keys = [key for i in range(len(view)) for key in view.part(i, i + 1).state_dict()]
    assert sorted(keys) == sorted(before)


def test_what_comes_first_and_last():
    model = ViT(5, **TINY)
    view = ModularView(model, ["blocks.1", "blocks.2"], image_size=8)
    first, middle, last = (view.part(i, i + 1) for i in range(3))
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight"} <= set(first.state_dict())
    assert all(key.startswith("blocks.1.") for key in middle.state_dict())
    assert {"norm.weight", "head.bias", "blocks.2.attn.qkv.weight"} <= set(last.state_dict())
    assert middle.get_parameter("blocks.1.norm1.weight") is model.blocks[1].norm1.weight
    assert (view.boundaries[0].shape, view.boundaries[0].channels) == ((17, 16), 16)


@pytest.mark.parametrize(
    "splits, words",
    [(["block.1"], "no step 'block.1'.*blocks.1"), (["blocks.2", "blocks.1"], "out of order"), (["embed"], "empty")],
)
def test_wrong_splits(splits, words):
    with pytest.raises(ConfigError, match=words):
        ModularView(ViT(5, **TINY), splits, image_size=8)


class _Between(nn.Module):
    """Does something between its children."""

    def __init__(self, fault):
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 5)
        self.fault = fault
        self.scale = nn.Parameter(torch.ones(())) if fault == "weight" else None

    def forward(self, images):
        x = self.conv(images)
        return self.fc(self.pool(x.relu() if self.fault == "relu" else x).flatten(1))


def test_what_is_no_chain_is_refused():
    with pytest.raises(WiringError, match=r"conv, pool, fc one after another do not give"):
        ModularView(_Between("relu"), ["fc"], image_size=8)
    with pytest.raises(WiringError, match="no step owns 'scale'"):
        ModularView(_Between("weight"), ["fc"], image_size=8)
    model = _Between("")
    model.pool = nn.AdaptiveAvgPool2d(2)
    model.forward = lambda images: model.fc(model.pool(model.conv(images)).flatten(2).mean(2))
    with pytest.raises(WiringError, match="module 1 fails"):
        ModularView(model, ["fc"], image_size=8)


def test_a_weight_in_two_modules():
    shared = nn.Linear(192, 192)
    model = nn.Sequential(nn.Flatten(), shared, nn.ReLU(), shared)
    model.forward = lambda images: shared(shared(images.flatten(1)).relu())
    # Sequential keeps one name for it; the chain then lacks the second call.
    with pytest.raises(WiringError):
        ModularView(model, ["2"], image_size=8)


class _InTraining(nn.Module):
    """Drops numbers between its children, in training only."""

    def __init__(self):
        super().__init__()
        self.flat, self.first, self.second = nn.Flatten(), nn.Linear(192, 7), nn.Linear(7, 5)

    def forward(self, images):
        return self.second(nn.functional.dropout(self.first(self.flat(images)), training=self.training))


def test_what_is_a_chain_in_evaluation_only_is_refused():
    with pytest.raises(WiringError, match="do not give the model's logits in training mode"):
        ModularView(_InTraining(), ["second"], image_size=8)
    ModularView(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 5)), ["2"], image_size=8)
    ModularView(ViT(5, drop_path=0.5, **TINY), ["blocks.1"], image_size=8)


def test_a_weight_under_two_names_is_one_weight():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 192), nn.ReLU(), nn.Linear(192, 192))
    ModularView(model, ["3"], image_size=8)
    model[3].weight = model[1].weight
    with pytest.raises(WiringError, match=r"'1.weight' belongs to the modules \[0, 1\]; expected one"):
        ModularView(model, ["3"], image_size=8)
    ModularView(model, [], image_size=8)  # of one module it may be


def test_a_weight_that_two_steps_own_is_refused():
    circuit = NAC(5, width=16, depth=2, heads=2, inputs=4, mediators=8, outputs=3, image_size=8, shared_design=True)
    with pytest.raises(WiringError, match="belongs to the modules"):
        ModularView(circuit, [circuit.chain()[2].name], image_size=8)


class _ChannelsLast(nn.Module):
    output_fmt = "NHWC"

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(3, 6), nn.Linear(6, 5)

    def forward(self, images):
        return self.head(self.embed(images.permute(0, 2, 3, 1)).mean((1, 2)))

    def chain(self):
        return [
            Step("embed", lambda net, x: net.embed(x.permute(0, 2, 3, 1)), ("embed",)),
            Step("head", lambda net, x: net.head(x.mean((1, 2))), ("head",)),
        ]


def test_maps_with_channels_last():
    (boundary,) = ModularView(_ChannelsLast(), ["head"], image_size=8).boundaries
    assert (boundary.shape, boundary.channels) == ((8, 8, 6), 6)
    with pytest.raises(WiringError, match="channels last"):
        Stitch(boundary, boundary)


@pytest.mark.parametrize(
    "name, splits, options",
    [
        ("vit_tiny_patch16_224", ["model.blocks.4", "model.blocks.8"], {"img_size": 32, "patch_size": 8}),
        ("resnet10t", ["model.layer2", "model.layer4"], {}),
        ("convnext_atto", ["model.stages.1"], {}),
    ],
)
def test_timm(name, splits, options):
    try:
        import_timm()
    except ConfigError as error:
        pytest.skip(str(error))
    model = TimmModel(name, 5, options=options)
    view = ModularView(model, splits, image_size=32)
    keys = [key for i in range(len(view)) for key in view.part(i, i + 1).state_dict()]
    assert sorted(keys) == sorted(model.state_dict())
