"""Contrast by tiles: against the plain form, against numbers worked out by hand, and what it holds in memory."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from structkd.errors import ConfigError, DataError
from structkd.ops.info_nce import TILE, info_nce


@pytest.fixture(params=[1, 40, 1 << 20], ids=["row by row", "a few rows", "at once"])
def tile(request, monkeypatch):
    monkeypatch.setitem(TILE, "cpu", request.param)


def rows(n, c=5, dtype=torch.float64):
    return [side.requires_grad_() for side in torch.randn(2, n, c, dtype=dtype).unbind()]


@pytest.mark.parametrize("n", [0, 1, 2, 13])
@pytest.mark.parametrize("learns", ["x", "y", "both"])
def test_blockwise_equals_naive(tile, n, learns):
    x, y = rows(n)
    x, y = x.requires_grad_(learns != "y"), y.requires_grad_(learns != "x")
    sides = [side for side in (x, y) if side.requires_grad]
    values = [info_nce(x, y, 0.3, backend=backend) for backend in ("blockwise", "naive")]
    assert torch.allclose(*values, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(3 * value, sides) for value in values]
    for ours, plain in zip(*gradients, strict=True):
        assert torch.allclose(ours, plain, rtol=0, atol=1e-12)


def test_gradcheck(tile):
    assert torch.autograd.gradcheck(lambda x, y: info_nce(x, y, 0.7), rows(7))


def test_by_hand(tile):
    # Scores of the first row 1 and 0, of the second 0 and 2; at a temperature of 1/2 they double.
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    y = torch.eye(2, dtype=torch.float64)
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-4))) / 2
    assert info_nce(x, y, 0.5).item() == pytest.approx(expected, abs=1e-14)


def test_a_single_row_and_equal_rows():
    x, y = rows(1)
    assert info_nce(x, y).item() == 0
    same = torch.ones(6, 3, dtype=torch.float64)
    assert info_nce(same, same).item() == pytest.approx(math.log(6), abs=1e-12)


def test_order_of_rows_does_not_matter(tile):
    x, y = rows(11)
    order = torch.randperm(11)
    assert torch.allclose(info_nce(x, y), info_nce(x[order], y[order]), atol=1e-12)


def test_scores_far_apart_stay_finite(tile):
    x = torch.tensor([[1e4, 0.0], [0.0, 1e4]], requires_grad=True)
    value = info_nce(x, torch.tensor([[0.0, 1e4], [1e4, 0.0]]), 0.01)
    (gradient,) = torch.autograd.grad(value, x)
    assert value.isfinite() and gradient.isfinite().all()


def test_no_matrix_of_all_rows_against_all(monkeypatch):
    monkeypatch.setitem(TILE, "cpu", 1 << 14)
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (out if isinstance(out, tuple) else [out]) if isinstance(t, torch.Tensor))
            return out

    x, y = rows(1000, 8, torch.float32)
    with Watch():
        info_nce(x, y).backward()
    assert 8000 <= max(sizes) <= 1 << 14


def test_half_precision_is_computed_in_float32():
    x, y = (side.detach().bfloat16().requires_grad_() for side in rows(9))
    value = info_nce(x, y)
    assert value.dtype == torch.float32 and torch.allclose(value, info_nce(x.float(), y.float()), atol=1e-6)
    assert torch.autograd.grad(value, x)[0].dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(info_nce(x.float(), y.float()), value)


def test_nothing_to_learn_gives_a_plain_number():
    x, y = rows(5)
    assert not info_nce(x.detach(), y.detach()).requires_grad
    with torch.no_grad():
        assert not info_nce(x, y).requires_grad


def test_bad_input():
    with pytest.raises(DataError, match=r"rows \(2, 3\) and \(3, 3\)"):
        info_nce(torch.ones(2, 3), torch.ones(3, 3))
    with pytest.raises(ConfigError, match="tau is 0"):
        info_nce(torch.ones(2, 3), torch.ones(2, 3), 0)
