import sys

import pytest
import torch

from structkd.errors import ConfigError, DataError
from structkd.ops.ball_query import ball_query


def _by_definition(x, y, radius, k, batch_x, batch_y):
    rows = []
    for centre, scene in zip(y, batch_y.tolist()):
        near = ((x - centre).square().sum(1) < radius**2) & (batch_x == scene)
        found = near.nonzero().flatten().tolist() or (batch_x == scene).nonzero().flatten().tolist()[:1]
        rows.append((found + [found[0]] * k)[:k])
    return rows


@pytest.mark.parametrize("radius, k", [(0.05, 4), (0.3, 5), (0.3, 200), (3.0, 16)])
def test_rows_are_those_of_the_definition(generator, monkeypatch, radius, k):
    x = torch.rand(300, 3, generator=generator, dtype=torch.float64) * torch.tensor([3, 2, 1]) - 1
    y = torch.rand(80, 3, generator=generator, dtype=torch.float64) * 4 - 1.5
    batch_x = torch.randint(3, (300,), generator=generator).sort().values
    batch_y = torch.randint(3, (80,), generator=generator).sort().values
    expected = _by_definition(x, y, radius, k, batch_x, batch_y)
    assert ball_query(x, y, radius, k, batch_x, batch_y).tolist() == expected
    monkeypatch.setattr(sys.modules["structkd.ops.ball_query"], "BLOCK", 50)
    assert ball_query(x, y, radius, k, batch_x, batch_y).tolist() == expected
    one = torch.zeros(1).long()
    alone = _by_definition(x, y, radius, k, one.expand(300), one.expand(80))
    assert ball_query(x, y, radius, k).tolist() == alone


def test_hand_computed_padding_and_border():
    x = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.5, 0, 0], [9, 9, 9]])
    y = torch.tensor([[0.0, 0, 0], [1, 0, 0], [9, 9, 8.5], [-50, 0, 0]])
    assert ball_query(x, y, 1.0, 3).tolist() == [[0, 2, 0], [1, 2, 1], [3, 3, 3], [0, 0, 0]]


def test_moving_everything_changes_nothing(generator):
    x = torch.rand(200, 3, generator=generator, dtype=torch.float64)
    assert torch.equal(ball_query(x, x[::3], 0.2, 8), ball_query(x + 1000, x[::3] + 1000, 0.2, 8))


def test_a_huge_extent_takes_wider_cells():
    x = torch.tensor([[0.0, 0, 0], [1e-6, 0, 0], [1e6, 1e6, 1e6]], dtype=torch.float64)
    assert ball_query(x, x, 1e-5, 2).tolist() == [[0, 1], [0, 1], [2, 2]]


def test_nothing():
    none, some = torch.zeros(0, 3), torch.zeros(1, 3)
    assert ball_query(none, none, 1.0, 4).shape == (0, 4)
    assert ball_query(some, none, 1.0, 4).shape == (0, 4)
    assert ball_query(some, some, 1.0, 4).tolist() == [[0] * 4]
    with pytest.raises(DataError, match="scene that has no point"):
        ball_query(none, some, 1.0, 4)
    with pytest.raises(DataError, match="scene that has no point"):
        ball_query(some, some, 1.0, 4, torch.tensor([0]), torch.tensor([1]))


def test_bad_input():
    some = torch.zeros(2, 3)
    with pytest.raises(ConfigError, match=r"radius=0.0, k=4"):
        ball_query(some, some, 0.0, 4)
    with pytest.raises(DataError, match="one side only"):
        ball_query(some, some, 1.0, 4, torch.zeros(2).long())
    with pytest.raises(DataError, match=r"x is \(2, 2\)"):
        ball_query(some[:, :2], some, 1.0, 4)
    with pytest.raises(DataError, match=r"y is .* finite"):
        ball_query(some, some + float("inf"), 1.0, 4)
    with pytest.raises(DataError, match="batch_y must be ascending"):
        ball_query(some, some, 1.0, 4, torch.tensor([0, 1]), torch.tensor([1, 0]))


def test_a_shell_leaves_out_what_is_near_but_not_the_centre_itself():
    x = torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [0.6, 0, 0], [0.9, 0, 0], [1.2, 0, 0]])
    assert ball_query(x, x[:1], 1.0, 3, inner=0.5).tolist() == [[0, 2, 3]]
    assert ball_query(x, x[:1] + 0.01, 1.0, 3, inner=0.5).tolist() == [[2, 3, 2]]
    assert ball_query(x, x[:1], 1.0, 3).tolist() == [[0, 1, 2]]
