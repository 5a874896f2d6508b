import pytest
import torch

from structkd.errors import ConfigError
from structkd.models import ShuffleNetV1


def test_parameters_for_100_classes(count):
    assert count(ShuffleNetV1, 100) == 949_258  # published: 0.95 million


@pytest.mark.parametrize("groups, channels", [(1, 576), (2, 800), (3, 960)])
def test_groups_set_the_channels(groups, channels):
    model = ShuffleNetV1(3, groups).eval()
    assert model.fc.in_features == channels and [len(getattr(model, f"layer{i}")) for i in (1, 2, 3)] == [4, 8, 4]
    with torch.no_grad():
        assert model(torch.rand(1, 3, 16, 16)).shape == (1, 3)


def test_strided_unit_puts_its_mean_behind():
    unit = ShuffleNetV1(2).layer1[0].eval()
    x = torch.rand(1, 24, 4, 4)
    out = unit(x)
    assert out.shape == (1, 240, 2, 2)
    assert torch.equal(out[:, -24:], torch.nn.functional.avg_pool2d(x, 3, 2, 1))


def test_unknown_groups():
    with pytest.raises(ConfigError, match="groups=5 is unknown"):
        ShuffleNetV1(2, 5)
