import pytest
import torch
import torch.nn.functional as F

from structkd.losses import dirichlet_energy


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_equals_the_sum_over_edges(normalize, count):
    x = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    i, j = edge_index = torch.randint(12, (2, count))  # loops and parallel edges among them
    rows = x / x.detach().norm(dim=1, keepdim=True) if normalize else x
    slow = (rows[i] - rows[j]).square().sum() / 12
    fast = dirichlet_energy(x, edge_index, normalize)
    assert torch.allclose(fast, slow, rtol=0, atol=1e-10)
    assert torch.allclose(torch.autograd.grad(fast, x)[0], torch.autograd.grad(slow, x)[0], rtol=0, atol=1e-10)


def test_by_hand():
    x = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    both = torch.tensor([[0, 1], [1, 0]])
    assert dirichlet_energy(x, both, normalize=False).item() == 13  # 9 + 4, in both directions, by 2 nodes
    assert dirichlet_energy(x, both).item() == pytest.approx(0.6**2 + 0.2**2)


def test_zero_when_neighbours_are_equal():
    x = torch.randn(1, 6).expand(5, 6).clone().requires_grad_()
    energy = dirichlet_energy(x, torch.randint(5, (2, 20)))
    energy.backward()
    assert 0 <= energy < 1e-12 and x.grad.isfinite().all()


def test_float32_keeps_the_digits_of_a_small_energy():
    x = 1 + 1e-3 * torch.randn(50, 8)
    i, j = edge_index = torch.randint(50, (2, 300))
    rows = F.normalize(x.double(), dim=1)
    exact = (rows[i] - rows[j]).square().sum().item() / 50
    assert dirichlet_energy(x, edge_index).item() == pytest.approx(exact, rel=1e-6)


def test_zero_rows_and_no_rows():
    x = torch.zeros(3, 4, requires_grad=True)
    dirichlet_energy(x, torch.tensor([[0], [1]])).backward()
    assert x.grad.isfinite().all()
    assert dirichlet_energy(torch.zeros(0, 4), torch.empty(2, 0, dtype=torch.long)) == 0


def test_permutation_invariant():
    x, edge_index, order = torch.randn(12, 5), torch.randint(12, (2, 30)), torch.randperm(12)
    assert torch.allclose(dirichlet_energy(x[order], torch.argsort(order)[edge_index]), dirichlet_energy(x, edge_index))
