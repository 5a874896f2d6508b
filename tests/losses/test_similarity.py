import pytest
import torch

from structkd.errors import DataError
from structkd.losses import similarity_preserving


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_by_hand():
    # Products [[1, 0], [0, 4]] and [[1, 1], [1, 1]]: rows (1, 0), (0, 1) against (1, 1) / sqrt(2).
    f_s, f_t = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0], [1.0]])
    half = 0.5**0.5
    assert similarity_preserving(f_s, f_t).item() == pytest.approx((2 * (1 - half) ** 2 + 2 * half**2) / 4)


def test_against_loops_over_samples():
    f_s, f_t = double(4, 3, 2, 5), double(4, 6, 7, 1)
    rows = []
    for f in (f_s, f_t):
        gram = torch.stack([torch.stack([(a * b).sum() for b in f]) for a in f])
        rows.append(torch.stack([row / row.norm() for row in gram]))
    assert torch.allclose(similarity_preserving(f_s, f_t), (rows[0] - rows[1]).square().mean())
    assert torch.autograd.gradcheck(similarity_preserving, (double(3, 2, 2), double(3, 5)))


def test_zero_at_equality_and_blind_to_rotation_scale_and_order():
    f, other, order = double(4, 8), double(4, 5), torch.randperm(4)
    rotation, _ = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))
    assert similarity_preserving(f, f) == 0
    assert similarity_preserving(f, 3 * f @ rotation).abs() < 1e-14
    assert torch.allclose(similarity_preserving(f[order], other[order]), similarity_preserving(f, other))


def test_a_single_sample_teaches_nothing():
    f = double(1, 5)
    value = similarity_preserving(f, double(1, 5))
    value.backward()
    assert value.abs() < 1e-14 and f.grad.abs().max() < 1e-14


@pytest.mark.parametrize("shape", [(0, 3, 2, 2), (2, 3, 0, 2)])
def test_empty(shape):
    f = double(*shape)
    value = similarity_preserving(f, f.detach())
    value.backward()
    assert value == 0


def test_sides_hold_the_same_samples():
    with pytest.raises(DataError, match="of 2 samples, teacher features of 3"):
        similarity_preserving(double(2, 3), double(3, 3))
