import math

import pytest
import torch

from structkd import Structure
from structkd.distillers import VID
from structkd.errors import ConfigError
from structkd.losses import gaussian_nll


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_starts_at_the_published_variance():
    distiller, f_s, f_t = VID(3, 5).double(), double(2, 3, 4, 6), double(2, 5, 4, 6)
    mean = f_s.permute(0, 2, 3, 1)
    for index, layer in enumerate(distiller.mean[::2]):
        mean = (mean.relu() if index else mean) @ layer.weight.t()
    expected = gaussian_nll(mean.permute(0, 3, 1, 2), f_t, torch.full((5,), 5.0).double())
    value = distiller(Structure(neck=f_s), Structure(neck=f_t))["likelihood"]
    assert torch.allclose(value, expected, rtol=1e-6)
    assert [layer.weight.shape for layer in distiller.mean[::2]] == [(5, 3), (5, 5), (5, 5)]


def test_the_least_it_can_be():
    """Half the mean log variance, where the prediction is the teacher."""
    distiller, neck = VID(4, 4, variance=0.3).double(), double(2, 4, 3, 3).relu()
    for layer in distiller.mean[::2]:
        torch.nn.init.eye_(layer.weight)
    value = distiller(Structure(neck=neck), Structure(neck=neck))["likelihood"]
    assert value.item() == pytest.approx(math.log(0.3) / 2, rel=1e-6)


def test_a_variance_cannot_fall_below_what_there_is():
    for variance in (0, 1e-5):
        with pytest.raises(ConfigError, match="variance"):
            VID(3, 5, variance=variance)
