import gc
import weakref

import pytest
import torch
from torch import nn

from structkd.errors import ConfigError, DataError
from structkd.ops import edge_batch_norm, edge_layer, edge_moments, edge_terms, edges_of


def graph(points=11, centers=7, neighbors=4, channels=3):
    x = torch.randn(points, channels, dtype=torch.float64)
    return x, torch.randint(points, (centers,)), torch.randint(points, (centers, neighbors))


def plain(x, center, index, conv, norm, fuse="identity", reduce="none"):
    """The layer as one writes it down: concatenate on every edge, 1x1 convolution, batch normalisation, ReLU."""
    near, own = x[index], x[center].unsqueeze(1).expand(-1, index.size(1), -1)
    both = torch.cat([near if fuse == "identity" else own - near, own], -1)
    edges = norm(conv(both.permute(2, 0, 1).unsqueeze(0))).relu()[0].permute(1, 2, 0)
    return edges.amax(1) if reduce == "max" else edges


def layers(channels=3, out=5):
    conv, norm = nn.Conv2d(2 * channels, out, 1, bias=False).double(), nn.BatchNorm2d(out).double()
    nn.init.normal_(norm.weight)  # of either sign: a maximum must not be taken before the scale
    nn.init.normal_(norm.bias)
    return conv, norm


@pytest.mark.parametrize("reduce", ["none", "max"])
@pytest.mark.parametrize("fuse", ["identity", "sub"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("chunk", [1, 1 << 17])
def test_equals_convolution_on_the_concatenation(reduce, fuse, training, chunk, monkeypatch):
    import importlib

    monkeypatch.setitem(importlib.import_module("structkd.ops.edge_layer").CHUNK, "cpu", chunk)
    x, center, index = graph()
    conv, norm = layers()
    norm(torch.randn(1, 5, 4, 4, dtype=torch.float64))  # running statistics that are neither 0 nor 1
    norm.train(training)
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    leaves = [x.requires_grad_(), conv.weight, norm.weight, norm.bias]
    expected = plain(x, center, index, conv, norm, fuse, reduce)
    cotangent = torch.randn_like(expected)
    expected_gradients = torch.autograd.grad(expected, leaves, cotangent)
    weight = conv.weight.flatten(1)
    options = {"training": training, "fuse": fuse, "reduce": reduce}
    got = edge_layer(x, center, index, weight, norm.weight, norm.bias, mean, var, **options)
    torch.testing.assert_close(got, expected)
    for gradient, other in zip(torch.autograd.grad(got, leaves, cotangent), expected_gradients):
        torch.testing.assert_close(gradient, other)
    torch.testing.assert_close(mean, norm.running_mean)
    torch.testing.assert_close(var, norm.running_var)


@pytest.mark.parametrize("reduce", ["none", "max"])
def test_gradcheck(reduce):
    x, center, index = graph(6, 4, 3)
    weight, gamma, beta = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((2, 6), (2,), (2,)))

    def run(x, weight, gamma, beta):
        return edge_layer(x, center, index, weight, gamma, beta, reduce=reduce)

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), weight, gamma, beta))


def test_moments_by_hand():
    u, v, index = torch.tensor([[0.0], [2.0]]), torch.tensor([[10.0], [20.0]]), torch.tensor([[0, 1], [1, 1]])
    mean, var = edge_moments(u, v, index)  # edges 10, 12, 22, 22
    assert mean.tolist() == [16.5] and var.tolist() == [(42.25 + 20.25 + 2 * 30.25) / 4]


def test_moments_survive_terms_far_from_zero():
    """In float32, where squares of the raw terms would leave nothing of the variance."""
    _, _, index = graph(50, 40, 8)
    u, v = torch.randn(50, 2), torch.randn(40, 2)
    _, var = edge_moments(u + 1000, v - 3000, index)
    torch.testing.assert_close(var, (u[index] + v.unsqueeze(1)).var((0, 1), unbiased=False), rtol=2e-3, atol=0)


def test_empty_and_single():
    weight = torch.randn(5, 6)
    none = torch.empty(0, 2, dtype=torch.long)
    for reduce, shape in (("none", (0, 2, 5)), ("max", (0, 5))):
        assert edge_layer(torch.randn(4, 3), none[:, 0], none, weight, reduce=reduce).shape == shape
        assert edge_layer(torch.randn(0, 3), none[:, 0], none[:, :0], weight, reduce=reduce).shape[0] == 0
    mean, var = torch.zeros(5), torch.ones(5)
    single = edge_layer(
        torch.randn(1, 3), none.new_zeros(1), none.new_zeros(1, 1), weight, None, torch.ones(5), mean, var
    )
    # At its mean, so only the shift is left.
    torch.testing.assert_close(single, torch.ones(1, 1, 5), rtol=0, atol=1e-3)
    torch.testing.assert_close(var, torch.full((5,), 0.9))
    assert edges_of(torch.randn(3, 5), torch.randn(2, 5), none.new_zeros(2, 0), "max").tolist() == [[0.0] * 5] * 2


def test_equivariant_to_the_order_of_points():
    x, center, index = graph()
    order = torch.randperm(len(x))
    place = order.argsort()
    weight = torch.randn(5, 6, dtype=torch.float64)
    moved = edge_layer(x[order], place[center], place[index], weight)
    torch.testing.assert_close(moved, edge_layer(x, center, index, weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision(dtype):
    x, center, index = graph(40, 30, 8)
    weight = torch.randn(5, 6, dtype=torch.float64)
    got = edge_layer(x.to(dtype), center, index, weight.to(dtype))
    assert got.dtype == torch.float32
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(got.double(), edge_layer(x, center, index, weight), rtol=0, atol=tolerance)


def test_neighbours_are_not_kept_alive():
    x, center, index = graph()
    edge_layer(x.requires_grad_(), center, index, torch.randn(5, 6, dtype=torch.float64)).sum().backward()
    gone = weakref.ref(index)
    del index
    gc.collect()
    assert gone() is None


def test_bad_input():
    x, center, index = graph()
    with pytest.raises(DataError, match=r"\(5, 4\).*channels of neighbour and centre"):
        edge_terms(x, center, torch.randn(5, 4))
    with pytest.raises(ConfigError, match="fuse is 'add'"):
        edge_layer(x, center, index, torch.randn(5, 6).double(), fuse="add")
    with pytest.raises(ConfigError, match="reduce is 'mean'"):
        edge_layer(x, center, index, torch.randn(5, 6).double(), reduce="mean")
    with pytest.raises(DataError, match="with neighbours"):
        edge_batch_norm(torch.randn(4, 2), torch.randn(3, 2), index)
