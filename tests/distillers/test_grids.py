import pytest
import torch

from structkd.distillers.grids import resized


def test_what_is_of_that_size_stays_the_same_object():
    grid = torch.randn(1, 2, 3, 4)
    assert resized(grid, (3, 4)) is grid


def test_cells_are_compared_by_their_centres():
    """A plane over x and y stays the same plane wherever the new centres lie within the old ones."""
    for size in ((4, 6), (24, 36)):
        y, x = (torch.arange(0.5, n, dtype=torch.float64) / n for n in (12, 18))
        plane = (3 * y[:, None] + 2 * x).expand(2, 5, 3, 12, 18)
        y, x = (torch.arange(0.5, n, dtype=torch.float64) / n for n in size)
        expected = 3 * y[:, None] + 2 * x
        inner = (..., slice(1, -1), slice(1, -1))
        new = resized(plane, size)
        assert new.shape == (2, 5, 3, *size)
        assert torch.allclose(new[inner], expected.expand_as(new)[inner])


def test_by_hand():
    row = torch.tensor([[[[0.0, 1.0, 4.0, 5.0]]]])
    assert resized(row, (1, 2)).flatten().tolist() == pytest.approx([0.5, 4.5])


@pytest.mark.parametrize("size", [(8, 8), (8, 14), (4, 28)])
def test_every_cell_of_a_finer_map_counts(size):
    """One bright cell of each block: what is read between the centres of a few cells would miss it."""
    grid = torch.zeros(1, 1, 56, 56, dtype=torch.float64)
    grid[..., ::7, ::7] = 49.0
    new = resized(grid, size)
    torch.testing.assert_close(new.mean(), grid.mean())
    if size == (8, 8):
        torch.testing.assert_close(new, torch.ones_like(new))
    ramp = torch.arange(56.0, dtype=torch.float64).expand(1, 1, 56, 56)
    torch.testing.assert_close(resized(ramp, size).mean(), ramp.mean())


def test_half_the_cells_each_way_are_the_bilinear_ones():
    grid = torch.randn(2, 3, 8, 12)
    expected = torch.nn.functional.interpolate(grid, (4, 6), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resized(grid, (4, 6)), expected)


def test_fewer_cells_one_way_and_more_the_other():
    row = torch.tensor([[[[0.0, 2.0, 4.0, 6.0]]]])
    assert resized(row, (2, 2)).tolist() == [[[[1.0, 5.0], [1.0, 5.0]]]]
    assert resized(torch.zeros(0, 3, 4, 4), (2, 2)).shape == (0, 3, 2, 2)
