import pytest
import torch

from structkd.backends import OPS
from structkd.errors import ConfigError, DataError
from structkd.ops.farthest_points import farthest_points

BACKENDS = OPS["farthest_points"].names


def _by_definition(x, k):
    rows = [0]
    while len(rows) < min(k, len(x)):
        nearest = torch.cdist(x, x[rows], compute_mode="donot_use_mm_for_euclid_dist").amin(1)
        nearest[rows] = -1
        rows.append(int((nearest == nearest.max()).nonzero()[0]))
    return rows


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_are_those_of_the_definition(generator, backend):
    x = torch.rand(200, 3, generator=generator, dtype=torch.float64)
    batch = torch.tensor([0] * 120 + [2] * 80)
    expected = _by_definition(x[:120], 40) + [120 + row for row in _by_definition(x[120:], 40)]
    assert farthest_points(x, 40, batch, backend=backend).tolist() == expected
    assert farthest_points(x[:120], 40, backend=backend).tolist() == expected[:40]


@pytest.mark.parametrize("backend", BACKENDS)
def test_ties_on_a_line_go_to_the_lower_row(backend):
    x = torch.tensor([[0.0], [1], [-1], [2], [-2]])
    assert farthest_points(x, 5, backend=backend).tolist() == [0, 3, 4, 1, 2]


@pytest.mark.parametrize("backend", BACKENDS)
def test_points_that_coincide_are_each_chosen_once(backend):
    x = torch.tensor([[0.0, 0], [5, 0], [0, 0], [5, 0]])
    assert farthest_points(x, 3, backend=backend).tolist() == [0, 1, 2]
    assert farthest_points(x, 9, backend=backend).tolist() == [0, 1, 2, 3]


def test_backends_agree_on_a_grid_full_of_ties(generator):
    x = torch.randint(6, (400, 3), generator=generator).float()
    batch = torch.arange(4).repeat_interleave(100)
    first, second = (farthest_points(x, 50, batch, backend=backend) for backend in BACKENDS)
    assert torch.equal(first, second)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing(backend):
    assert farthest_points(torch.zeros(0, 3), 4, backend=backend).tolist() == []
    empty = torch.zeros(0, dtype=torch.long)
    assert farthest_points(torch.zeros(0, 3), 4, empty, backend=backend).tolist() == []
    assert farthest_points(torch.zeros(1, 3), 4, torch.tensor([3]), backend=backend).tolist() == [0]


def test_bad_input():
    with pytest.raises(ConfigError, match="k=0"):
        farthest_points(torch.zeros(3, 3), 0)
    with pytest.raises(DataError, match="finite floating point"):
        farthest_points(torch.full((3, 3), float("nan")), 1)
    with pytest.raises(DataError, match="ascending"):
        farthest_points(torch.zeros(2, 3), 1, torch.tensor([1, 0]))
