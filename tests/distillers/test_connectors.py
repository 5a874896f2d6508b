import pytest
import torch

from structkd.distillers.connectors import Connector, NormalizedConnector, UnitConnector, connector
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


def test_a_connector_of_the_teacher_says_so():
    with pytest.raises(DataError, match=r"Teacher features .* teacher_channels=3"):
        UnitConnector(3, 5, side="teacher")(torch.zeros(2, 4))


def test_unit_vectors():
    layer, x = UnitConnector(3, 5), torch.randn(4, 3)
    plain = x @ layer.weight.t() + layer.bias
    assert torch.allclose(layer(x), plain / plain.norm(dim=1, keepdim=True))
    assert layer.bfloat16()(x.bfloat16()).dtype == torch.float32


def test_normalised_over_the_batch():
    layer, x = NormalizedConnector(3, 5).double(), 9 + torch.randn(4, 3, 2, 6, dtype=torch.float64)
    out = layer(x)
    assert out.mean((0, 2, 3)).abs().max() < 1e-12 and (out.var((0, 2, 3), correction=0) - 1).abs().max() < 1e-3
    rows = x.permute(0, 2, 3, 1).reshape(48, 3)
    assert torch.allclose(out.permute(0, 2, 3, 1).reshape(48, 5), layer(rows))


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (0, 3), (0, 3, 2, 2)])
def test_no_statistics_of_a_single_value(shape):
    layer, x = NormalizedConnector(3, 5).double(), torch.randn(shape, dtype=torch.float64)
    layer.norm.running_mean += 1
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    out = layer(x)
    assert torch.allclose(out, (layer.linear(x) - 1) / (1 + layer.norm.eps) ** 0.5)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
