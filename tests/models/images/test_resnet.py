import pytest
import torch

from structkd.errors import ConfigError
from structkd.models import ResNet


# The published CIFAR networks; 8x4, 20, 56, 110 and 32x4 have 1.23, 0.28, 0.86, 1.74 and 7.43 million.
@pytest.mark.parametrize(
    "depth, parameters",
    [
        (8, 83_892), ("8x4", 1_233_540), (14, 181_108), (20, 278_324), (32, 472_756), ("32x4", 7_433_860),
        (44, 667_188), (56, 861_620), (110, 1_736_564), (18, 11_220_132), (34, 21_328_292), (50, 23_705_252),
    ],
)  # fmt: skip
def test_parameters_for_100_classes(depth, parameters, count):
    assert count(ResNet, 100, depth) == count(ResNet, 100, str(depth)) == parameters


@pytest.mark.parametrize("depth, parameters", [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)])
def test_parameters_of_the_networks_of_imagenet(depth, parameters, count):
    assert count(ResNet, 1000, depth, stem="large") == parameters


@pytest.mark.parametrize("depth", [14, "8x4", 18, 50])
def test_forward(depth):
    with torch.no_grad():
        assert ResNet(3, depth).eval()(torch.rand(1, 3, 16, 16)).shape == (1, 3)


def test_block_adds_its_shortcut():
    block = ResNet(2, 8).layer1[0].eval()
    for conv in (block.conv1, block.conv2):
        torch.nn.init.zeros_(conv.weight)
    x = torch.randn(1, 16, 4, 4)
    assert torch.equal(block(x), x.relu())


def test_large_stem_reads_a_quarter():
    taps = ResNet(2, 18, stem="large").feature_info()
    assert [f.stride for f in taps] == [4, 8, 16, 32, 0]


@pytest.mark.parametrize(
    "arguments, message", [({"depth": 21}, "depth='21' is unknown.*20"), ({"stem": "s"}, "stem='s'")]
)
def test_unknown_names(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ResNet(2, **arguments)
