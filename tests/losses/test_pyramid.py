import pytest
import torch
import torch.nn.functional as F

from structkd.errors import DataError
from structkd.losses import hierarchical_context


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_against_the_published_weights():
    f_s, f_t = double(2, 3, 8, 8), double(2, 3, 8, 8)
    pooled = [F.mse_loss(F.adaptive_avg_pool2d(f_s, n), F.adaptive_avg_pool2d(f_t, n)) for n in (4, 2, 1)]
    terms = [F.mse_loss(f_s, f_t), *pooled]
    weights = [1, 0.5, 0.25, 0.125]
    expected = sum(w * t for w, t in zip(weights, terms)) / sum(weights)
    assert torch.allclose(hierarchical_context(f_s, f_t), expected)
    assert torch.autograd.gradcheck(hierarchical_context, (double(1, 2, 5, 3), double(1, 2, 5, 3)))


def test_grids_that_are_not_coarser_take_no_weight():
    f_s, f_t = double(2, 3, 2, 9), double(2, 3, 2, 9)
    expected = (F.mse_loss(f_s, f_t) + 0.5 * F.mse_loss(f_s.mean((2, 3)), f_t.mean((2, 3)))) / 1.5
    assert torch.allclose(hierarchical_context(f_s, f_t), expected)
    f_s, f_t = double(2, 3, 1, 1), double(2, 3, 1, 1)
    assert torch.allclose(hierarchical_context(f_s, f_t), F.mse_loss(f_s, f_t))


def test_zero_at_equality_order_and_empty():
    f_s, f_t, order = double(4, 2, 5, 5), double(4, 2, 5, 5), torch.randperm(4)
    assert hierarchical_context(f_t, f_t) == 0
    assert torch.allclose(hierarchical_context(f_s[order], f_t[order]), hierarchical_context(f_s, f_t))
    empty = double(0, 2, 5, 5)
    value = hierarchical_context(empty, empty.detach())
    value.backward()
    assert value == 0


def test_bad_input():
    with pytest.raises(DataError, match="as many channels"):
        hierarchical_context(double(2, 3, 4, 4), double(2, 2, 4, 4))
