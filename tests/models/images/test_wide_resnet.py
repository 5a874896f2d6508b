import pytest
import torch

from structkd.errors import ConfigError
from structkd.models import WideResNet


@pytest.mark.parametrize(
    "depth, width, parameters", [(16, 1, 180_916), (16, 2, 703_284), (40, 1, 569_780), (40, 2, 2_255_156)]
)
def test_parameters_for_100_classes(depth, width, parameters, count):
    assert count(WideResNet, 100, depth, width) == parameters


def test_28_10_of_the_paper(count):
    assert count(WideResNet, 10, 28, 10) == 36_479_194  # table 4: 36.5 million


def test_shortcut_without_a_convolution_is_what_came_in():
    model = WideResNet(2, 10, 1).eval()
    block = model.layer1[0]
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.randn(1, 16, 4, 4)
    assert block.shortcut is None and torch.equal(block(x), x)


def test_act_is_what_the_pool_reads():
    model, seen = WideResNet(2, 10, 1).eval(), []
    for layer in (model.act, model.pool):
        layer.register_forward_hook(lambda _m, _a, out: seen.append(out))
    model(torch.rand(2, 3, 8, 8))
    assert torch.equal(seen[0].mean((2, 3)), seen[1]) and not bool((seen[0] < 0).any())


@pytest.mark.parametrize("depth, width", [(18, 1), (4, 1), (16, 0)])
def test_impossible_sizes(depth, width):
    with pytest.raises(ConfigError, match=f"depth={depth}, width={width}"):
        WideResNet(2, depth, width)
