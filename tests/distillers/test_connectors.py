import pytest
import torch

from structkd.distillers.connectors import Connector, connector
from structkd.errors import ConfigError, DataError


def test_maps_and_rows_go_through_one_map():
    layer, grid = Connector(3, 5).double(), torch.randn(2, 3, 4, 6, dtype=torch.float64)
    rows = grid.permute(0, 2, 3, 1).reshape(48, 3)
    out = layer(grid)
    assert out.shape == (2, 5, 4, 6)
    assert torch.allclose(out.permute(0, 2, 3, 1).reshape(48, 5), layer(rows))
    assert torch.allclose(layer(rows), rows @ layer.weight.t() + layer.bias)


def test_nothing_is_learned_between_equal_channels():
    assert not list(connector(4, 4).parameters())
    assert [p.shape for p in connector(4, 6).parameters()] == [(6, 4)]


@pytest.mark.parametrize("shape", [(4, 2), (1, 2, 4, 4), (3, 3, 3)])
def test_other_features_are_refused(shape):
    with pytest.raises(DataError, match=r"student_channels=3: \[N, 3\]"):
        Connector(3, 5)(torch.zeros(shape))


def test_channels_are_positive():
    with pytest.raises(ConfigError, match="teacher_channels=0"):
        Connector(3, 0)
