import torch

from structkd.models import MobileNetV2


def test_parameters_for_100_classes(count):
    assert count(MobileNetV2, 100) == 812_836  # published: 0.81 million


def test_first_block_does_not_expand():
    with torch.device("meta"):
        model = MobileNetV2(2)
    assert model.layer1[0].conv[0].out_channels == 16 and model.layer2[0].conv[0].out_channels == 6 * 8


def test_shortcut_only_where_shapes_allow():
    model = MobileNetV2(2)
    assert [block.short for block in model.layer3] == [False, True, True]
    assert [block.short for block in model.layer5] == [False, True, True]


def test_last_map_gets_wider_only_above_one():
    with torch.device("meta"):
        assert [MobileNetV2(2, width).fc.in_features for width in (0.5, 1.0, 1.5)] == [1280, 1280, 1920]
