import pytest
import torch

from structkd.errors import ConfigError
from structkd.models.points import Backbone, Neck
from structkd.models.points.backbone import head_shape


def test_shapes():
    maps = Backbone(4, (1, 2, 0), (2, 1, 2), (8, 16, 32))(torch.randn(2, 4, 12, 20))
    assert [tuple(x.shape) for x in maps] == [(2, 8, 6, 10), (2, 16, 6, 10), (2, 32, 3, 5)]
    assert Neck((8, 16, 32), (4, 4, 8), (1, 1, 2))(maps).shape == (2, 16, 6, 10)
    assert head_shape((12, 20), (2, 1, 2), (1, 1, 2)) == (6, 10)


def test_a_neck_may_also_make_maps_smaller():
    maps = [torch.randn(1, 4, 8, 8), torch.randn(1, 6, 4, 4)]
    assert Neck((4, 6), (2, 3), (0.5, 1))(maps).shape == (1, 5, 4, 4)
    assert head_shape((16, 16), (2, 2), (0.5, 1)) == (4, 4)


def test_depth_is_as_said():
    backbone = Backbone(4, (3, 5), (2, 2), (8, 8))
    assert [sum(isinstance(layer, torch.nn.Conv2d) for layer in block) for block in backbone.blocks] == [4, 6]


def test_refusals():
    with pytest.raises(ConfigError, match=r"12 x 21 cells \(y, x\), not divisible by 4"):
        head_shape((12, 21), (2, 2), (1, 2))
    with pytest.raises(ConfigError, match=r"\[\(3, 5\), \(6, 10\)\]"):
        head_shape((12, 20), (2, 2), (1, 1))
    with pytest.raises(ConfigError, match="one number for each of the 2 maps"):
        Neck((4, 8), (4,), (1, 2))
