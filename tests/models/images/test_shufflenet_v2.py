import pytest
import torch

from structkd.errors import ConfigError
from structkd.models import ShuffleNetV2


def test_parameters_for_100_classes(count):
    assert count(ShuffleNetV2, 100) == 1_355_528  # published: 1.36 million


@pytest.mark.parametrize("width", [0.5, 1, 1.5, 2.0])
def test_widths(width):
    with torch.no_grad():
        assert ShuffleNetV2(3, width).eval()(torch.rand(1, 3, 8, 8)).shape == (1, 3)


def test_half_of_the_channels_stay():
    unit = ShuffleNetV2(2, 0.5).layer1[1].eval()
    x = torch.rand(1, 48, 3, 3)
    assert torch.equal(unit(x)[:, 0::2], x[:, :24])


def test_unknown_width():
    with pytest.raises(ConfigError, match=r"width=0\.7 is unknown"):
        ShuffleNetV2(2, 0.7)
