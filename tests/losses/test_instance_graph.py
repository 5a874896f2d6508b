import pytest
import torch

from structkd.errors import DataError
from structkd.losses import instance_edges, instance_transform


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_edges_by_hand_and_against_loops():
    # Distances 1, 2, 3, squared and over 9.
    edges = instance_edges(torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64))
    expected = torch.tensor([[0, 1, 9], [1, 0, 4], [9, 4, 0]], dtype=torch.float64) / 9
    assert torch.allclose(edges, expected)
    f = double(4, 3, 2, 2)
    square = torch.stack([torch.stack([(a - b).square().sum() for b in f]) for a in f])
    assert torch.allclose(instance_edges(f), square / square.max())
    assert torch.autograd.gradcheck(lambda f: instance_edges(f) * (1 - torch.eye(4)), double(4, 3))


def test_edges_are_blind_to_rotation_shift_and_scale_and_follow_the_order():
    f, order = double(5, 4), torch.randperm(5)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    assert torch.allclose(instance_edges(3 * f @ rotation + 100), instance_edges(f))
    assert torch.allclose(instance_edges(f[order]), instance_edges(f)[order][:, order])


def test_edges_of_samples_close_together_far_from_the_origin():
    near = torch.randn(5, 4)
    assert torch.allclose(instance_edges(near + 1000), instance_edges((near + 1000) - 1000), atol=1e-5)


def test_transform_by_hand():
    before = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    after = torch.tensor([[1.0, 2.0], [2.0, 0.0]])
    assert instance_transform(before, after).tolist() == [0.25, 1]


def test_layers_are_brought_to_one_size():
    """Cells of the finer map, and neighbouring channels of the wider one, are averaged."""
    before, after = double(3, 2, 4, 4), double(3, 4, 2, 2)
    small = before.unflatten(2, (2, 2)).unflatten(4, (2, 2)).mean((3, 5))
    narrow = (after[:, 0::2] + after[:, 1::2]) / 2
    moved = (narrow - small).flatten(1).square().sum(1)
    assert torch.allclose(instance_transform(before, after), moved / moved.max())
    assert torch.allclose(instance_transform(after, before), moved / moved.max())
    vector = double(3, 4)
    assert torch.allclose(instance_transform(after, vector), instance_transform(after.mean((2, 3)), vector))
    assert torch.autograd.gradcheck(instance_transform, (double(3, 2, 2, 2), double(3, 3)))


@pytest.mark.parametrize("samples", [0, 1])
def test_few_samples(samples):
    f, g = double(samples, 3, 2, 2), double(samples, 4)
    edges, moved = instance_edges(f), instance_transform(f, g)
    assert edges.shape == (samples, samples) and not edges.any() and moved.shape == (samples,)
    (edges.sum() + moved.sum()).backward()
    assert bool(torch.isfinite(f.grad).all()) and bool(torch.isfinite(g.grad).all())


def test_samples_that_coincide():
    f = torch.ones(4, 3, requires_grad=True)
    (instance_edges(f).sum() + instance_transform(f, f).sum()).backward()
    assert bool(torch.isfinite(f.grad).all())


def test_bad_input():
    with pytest.raises(DataError, match="of 2 samples, the other's of 3"):
        instance_transform(double(2, 3), double(3, 3))
