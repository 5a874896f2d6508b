import pytest
import torch
import torch.nn.functional as F

from structkd import Structure
from structkd.distillers.grids import resized, visible_cells
from structkd.errors import DataError


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


@pytest.mark.parametrize("size", [(14, 14), (14, 28), (28, 14)])
def test_half_the_cells_are_the_bilinear_ones(size):
    """To the last digit, as runs before there were means had them; and the means of cells."""
    grid = torch.randn(2, 64, 28, 28)
    assert torch.equal(resized(grid, size), F.interpolate(grid, size, mode="bilinear", align_corners=False))
    torch.testing.assert_close(resized(grid, size), F.interpolate(grid, size, mode="area"))


def test_fewer_cells_one_way_and_more_the_other():
    row = torch.tensor([[[[0.0, 2.0, 4.0, 6.0]]]])
    assert resized(row, (2, 2)).tolist() == [[[[1.0, 5.0], [1.0, 5.0]]]]
    assert resized(torch.zeros(0, 3, 4, 4), (2, 2)).shape == (0, 3, 2, 2)


def test_cells_that_count_on_both_sides():
    grid, ones = torch.zeros(2, 3, 4, 4), torch.ones(2, 2, 2, dtype=torch.bool)
    left, top = ones.clone(), torch.ones(2, 4, 4, dtype=torch.bool)
    left[:, :, 1] = top[1, 2:] = False
    found = visible_cells(Structure(mask_map=left), Structure(mask_map=top), grid, "A")
    expected = torch.zeros(2, 4, 4, dtype=torch.bool)
    expected[0, :, :2] = expected[1, :2, :2] = True
    assert torch.equal(found, expected)
    assert torch.equal(visible_cells(Structure(), Structure(mask_map=top), grid, "A"), top)
    assert visible_cells(Structure(mask_map=ones), Structure(), grid, "A", whole=True) is None
    with pytest.raises(DataError, match=r"A compares whole maps.*Name a field of vectors"):
        visible_cells(Structure(mask_map=left), Structure(mask_map=left), grid, "A", whole=True)
    with pytest.raises(DataError, match=r"A: mask_map has shape \[2, 2, 2\]; expected \[B=1, h, w\]"):
        visible_cells(Structure(), Structure(mask_map=ones), grid[:1], "A")
