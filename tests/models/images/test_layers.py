import pytest
import torch
from torch import nn

from structkd.errors import ConfigError
from structkd.models.images.layers import GlobalPool, Shuffle, conv_norm, init_convs_, preset


def test_shuffle_interleaves_groups():
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert Shuffle(2)(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert Shuffle(3)(x).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert torch.equal(Shuffle(3)(Shuffle(2)(x)), x)


def test_pool_is_the_mean():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert GlobalPool()(x).tolist() == [[3.0, 1.0]]


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_convolution_keeps_the_size(kernel):
    layers = conv_norm(2, 4, kernel, groups=2)
    assert nn.Sequential(*layers)(torch.rand(2, 2, 7, 5)).shape == (2, 4, 7, 5)
    assert isinstance(layers[-1], nn.ReLU) and isinstance(conv_norm(2, 4, 3, act=False)[-1], nn.BatchNorm2d)


def test_initialisation_by_fan_out():
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 256, 3)
    init_convs_(nn.Sequential(conv))
    assert conv.weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)
    assert not conv.bias.any()


def test_initialisation_by_the_fan_out_of_a_group():
    torch.manual_seed(0)
    conv = nn.Conv2d(256, 256, 3, groups=256)
    init_convs_(conv)
    assert conv.weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.05)
    init_convs_(conv, per_group=True)
    assert conv.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.05)


def test_unknown_preset():
    assert preset({8: "a"}, 8, "depth") == "a"
    with pytest.raises(ConfigError, match=r"depth=9 is unknown.*8"):
        preset({8: "a"}, 9, "depth")
