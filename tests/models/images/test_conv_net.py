import pytest
import torch

from structkd.errors import ConfigError
from structkd.models import ConvNet


def test_parameters(count):
    conv = 9 * (3 * 32 + 32 * 64 + 64 * 128) + 2 * (32 + 64 + 128)
    assert count(ConvNet, 10) == conv + 1290
    assert count(ConvNet, 10, layers=2) == conv + 9 * (32**2 + 64**2 + 128**2) + 2 * (32 + 64 + 128) + 1290


@pytest.mark.parametrize("size, stride", [(8, 1), (64, 1), (96, 2), (224, 4), ((128, 400), 2)])
def test_image_size_sets_the_first_stride(size, stride):
    model = ConvNet(2, (4, 4), image_size=size).eval()
    assert [f.stride for f in model.feature_info()] == [stride, 2 * stride, 0]
    height, width = (size, size) if isinstance(size, int) else size
    with torch.no_grad():
        assert model.layer1(torch.rand(1, 3, height, width)).shape == (1, 4, height // stride, width // stride)


@pytest.mark.parametrize("arguments", [{"channels": ()}, {"channels": (4, 0)}, {"layers": 0}])
def test_empty_stages(arguments):
    with pytest.raises(ConfigError, match="expected one stage or more"):
        ConvNet(2, **arguments)
