import math

import pytest
import torch

from structkd.models.images.positions import resized_positions, sincos_positions


def test_sines_and_cosines_by_hand():
    p = sincos_positions((2, 3), 8)
    assert p.shape == (6, 8)
    row, column = 1, 2  # token 5; speeds 1 and 1/100
    expected = [f(place * speed) for place in (column, row) for f in (math.sin, math.cos) for speed in (1.0, 0.01)]
    assert p[5].tolist() == pytest.approx(expected, abs=1e-6)


def test_every_place_differs():
    p = sincos_positions((4, 5), 16)
    assert float(torch.cdist(p, p).fill_diagonal_(9).min()) > 0.1


def test_resizing():
    p = torch.randn(6, 4)
    assert resized_positions(p, (2, 3), (2, 3)) is p
    assert resized_positions(p, (2, 3), (4, 6)).shape == (24, 4)
    flat = torch.full((6, 4), 0.5)
    assert torch.allclose(resized_positions(flat, (2, 3), (5, 2)), torch.full((10, 4), 0.5))
    # Rows stay rows: what rises downwards still does.
    rising = torch.arange(4.0).repeat_interleave(2)[:, None]
    larger = resized_positions(rising, (4, 2), (8, 2)).reshape(8, 2)
    assert torch.allclose(larger[:, 0], larger[:, 1]) and bool((larger[2:6, 0].diff() > 0).all())
