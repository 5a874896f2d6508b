import pytest
import torch

from structkd.errors import DataError
from structkd.ops.pillar_scatter import gather_from_grid, scatter_to_grid


def _cells(generator, scenes=2, grid=(3, 4, 5), channels=6, count=20):
    depth, height, width = grid
    cell = torch.randperm(scenes * depth * height * width, generator=generator)[:count].sort().values
    plane, y = cell // width // height, cell // width % height
    coords = torch.stack([plane // depth, plane % depth, y, cell % width], 1)
    return torch.randn(count, channels, generator=generator, dtype=torch.float64), coords


@pytest.mark.parametrize("grid", [(1, 4, 5), (3, 4, 5)])
def test_every_cell_lands_in_its_place_and_comes_back(generator, grid):
    x, coords = _cells(generator, grid=grid)
    canvas = scatter_to_grid(x, coords, 2, grid)
    expected = torch.zeros(2, 6 * grid[0], 4, 5, dtype=torch.float64)
    for row, (scene, z, y, column) in zip(x, coords.tolist()):
        for c in range(6):
            expected[scene, c * grid[0] + z, y, column] = row[c]
    assert torch.equal(canvas, expected)
    assert torch.equal(gather_from_grid(canvas, coords, grid), x)


@pytest.mark.parametrize("grid", [(1, 4, 5), (3, 4, 5)])
def test_gradients(generator, grid):
    x, coords = _cells(generator, grid=grid, count=8, channels=2)
    assert torch.autograd.gradcheck(lambda x: scatter_to_grid(x, coords, 2, grid), x.requires_grad_())
    canvas = torch.randn(2, 2 * grid[0], 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda canvas: gather_from_grid(canvas, coords, grid), canvas)


def test_nothing_and_wrong_shapes():
    none = torch.zeros(0, 4, dtype=torch.long)
    assert scatter_to_grid(torch.zeros(0, 3), none, 2, (1, 4, 5)).eq(0).all()
    assert scatter_to_grid(torch.zeros(0, 3), none, 2, (2, 4, 5)).shape == (2, 6, 4, 5)
    assert gather_from_grid(torch.zeros(2, 6, 4, 5), none, (2, 4, 5)).shape == (0, 3)
    with pytest.raises(DataError, match=r"\[V, C\] and \[V, 4\]"):
        scatter_to_grid(torch.zeros(3, 3), none, 2, (1, 4, 5))
    with pytest.raises(DataError, match=r"expected \[B, a multiple of 2, 4, 5\]"):
        gather_from_grid(torch.zeros(2, 5, 4, 5), none, (2, 4, 5))
    with pytest.raises(DataError, match="scene, z, y, x"):
        gather_from_grid(torch.zeros(2, 6, 4, 5), none[:, :3], (2, 4, 5))
