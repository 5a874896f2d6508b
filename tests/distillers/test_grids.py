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
