import pytest
import torch

from structkd.adapters.taps import tapped
from structkd.errors import ConfigError
from structkd.models import VGG


@pytest.mark.parametrize(
    "depth, parameters", [(8, 3_965_028), (11, 9_277_284), (13, 9_462_180), (16, 14_774_436), (19, 20_086_692)]
)
def test_parameters_for_100_classes(depth, parameters, count):
    assert count(VGG, 100, depth) == parameters


@pytest.mark.parametrize("depth, convolutions", [(8, 5), (11, 8), (13, 10), (16, 13), (19, 16)])
def test_depth_counts_convolutions_of_the_table(depth, convolutions):
    with torch.device("meta"):
        model = VGG(2, depth)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in model.modules()) == convolutions


@pytest.mark.parametrize("size, cells", [(32, [32, 16, 8, 4, 4]), (64, [64, 32, 16, 8, 4]), (8, [8, 4, 2, 1, 1])])
def test_large_images_are_halved_once_more(size, cells):
    model, taps = VGG(2, 8).eval(), {f"layer{i}": f"layer{i}" for i in range(1, 6)}
    with torch.no_grad(), tapped(model, taps) as maps:
        model(torch.rand(1, 3, size, size))
    assert [maps[name].size(-1) for name in taps] == cells


def test_unknown_depth():
    with pytest.raises(ConfigError, match="depth=9 is unknown"):
        VGG(2, 9)
