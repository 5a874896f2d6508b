"""Edge reconstruction against the N x N matrices it stands for."""

import pytest
import torch

from structkd.losses import edge_reconstruction, reconstruction


def dense(z, edge_index):
    adjacency = z.new_zeros(z.size(0), z.size(0))
    adjacency.index_put_(tuple(edge_index), z.new_ones(edge_index.size(1)), accumulate=True)
    products = z @ z.t()
    scaled = (products - products.min()) / (products.max() - products.min())
    return (adjacency - scaled).square().mean().sqrt()


def edges(kind, nodes):
    e = torch.randint(nodes, (2, 3 * nodes))
    return {
        "directed": e,
        "undirected with loops": torch.cat([e, e.flip(0), torch.arange(nodes).expand(2, -1)], 1),
        "multigraph": torch.cat([e, e, e[:, :5]], 1),
        "empty": e[:, :0],
    }[kind]


@pytest.mark.parametrize("kind", ["directed", "undirected with loops", "multigraph", "empty"])
@pytest.mark.parametrize("shift", [0.0, 3.0, -50.0])
@pytest.mark.parametrize("channels", [3, 40])
def test_equals_the_matrices(kind, shift, channels, monkeypatch):
    monkeypatch.setattr(reconstruction, "TILE", 6)
    z = (torch.randn(20, channels, dtype=torch.float64) + shift).requires_grad_()
    edge_index = edges(kind, 20)
    fast, slow = edge_reconstruction(z, edge_index), dense(z, edge_index)
    assert fast.item() == pytest.approx(slow.item(), abs=1e-10)
    (ours,), (theirs,) = torch.autograd.grad(fast, z), torch.autograd.grad(slow, z)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


def test_by_hand():
    # Products 1, 0, 0, 4: rescaled 1/4, 0, 0, 1. Adjacency 0, 1, 0, 0. Squared differences 1/16, 1, 0, 1.
    z = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert edge_reconstruction(z, torch.tensor([[0], [1]])).item() == pytest.approx((33 / 16 / 4) ** 0.5)
    # The same edge twice makes that entry 2.
    assert edge_reconstruction(z, torch.tensor([[0, 0], [1, 1]])).item() == pytest.approx((81 / 16 / 4) ** 0.5)


def test_zero_where_the_products_are_the_adjacency():
    z = torch.eye(2, dtype=torch.float64)[[0, 0, 1]].requires_grad_()  # two cliques with loops
    pairs = torch.tensor([[0, 0, 1, 1, 2], [0, 1, 0, 1, 2]])
    value = edge_reconstruction(z, pairs)
    value.backward()
    assert value < 1e-8 and z.grad.isfinite().all()


def test_float32_keeps_its_digits_when_embeddings_lie_together():
    z = torch.randn(60, 8) * 1e-3 + 1
    edge_index = edges("undirected with loops", 60)
    assert edge_reconstruction(z, edge_index).item() == pytest.approx(dense(z.double(), edge_index).item(), rel=1e-3)


def test_permutation_invariant():
    z, edge_index, order = torch.randn(20, 5, dtype=torch.float64), edges("directed", 20), torch.randperm(20)
    moved = edge_reconstruction(z[order], torch.argsort(order)[edge_index])
    assert torch.allclose(moved, edge_reconstruction(z, edge_index), atol=1e-12)


def test_without_a_scale():
    for z, edge_index, expected in (
        (torch.ones(1, 3), torch.empty(2, 0, dtype=torch.long), 0.0),  # a single node
        (torch.ones(4, 3), torch.tensor([[0, 1], [1, 0]]), (2 / 16) ** 0.5),  # collapsed
        (torch.ones(0, 3), torch.empty(2, 0, dtype=torch.long), 0.0),
    ):
        z.requires_grad_()
        value = edge_reconstruction(z, edge_index)
        value.backward()
        assert value.item() == pytest.approx(expected, abs=1e-6) and z.grad.isfinite().all()


def test_tiles_bound_the_memory(monkeypatch):
    monkeypatch.setattr(reconstruction, "TILE", 4)
    shapes = []
    argmin = torch.Tensor.argmin
    monkeypatch.setattr(torch.Tensor, "argmin", lambda tile: shapes.append(tuple(tile.shape)) or argmin(tile))
    edge_reconstruction(torch.randn(10, 3), edges("directed", 10))
    assert len(shapes) == 6 and max(max(shape) for shape in shapes) == 4
