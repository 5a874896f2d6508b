"""Squared distances along edges: chunked against naive."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from structkd.errors import DataError
from structkd.ops import edge_distance
from structkd.ops.edge_distance import edge_square_distance

EDGES = torch.tensor([[0, 1, 1, 2, 2, 5, 3], [1, 0, 1, 4, 4, 0, 2]])


@pytest.mark.parametrize("chunk", [1, 12, 1 << 19])
@pytest.mark.parametrize("edges", [EDGES, EDGES[:, :0]], ids=["edges", "none"])
def test_chunked_equals_naive(chunk, edges, monkeypatch):
    monkeypatch.setitem(edge_distance.CHUNK, "cpu", chunk)
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(edges.size(1), dtype=torch.float64)
    outs = [edge_square_distance(x, edges, backend=backend) for backend in ("chunked", "naive")]
    assert torch.allclose(*outs, rtol=0, atol=1e-12)
    ours, plain = (torch.autograd.grad(out, x, upstream)[0] for out in outs)
    assert torch.allclose(ours, plain, rtol=0, atol=1e-12)


def test_gradcheck_and_values():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]], dtype=torch.float64, requires_grad=True)
    edges = torch.tensor([[0, 1, 2, 2], [1, 2, 0, 2]])
    assert edge_square_distance(x, edges).tolist() == [25, 16, 9, 0]
    assert torch.autograd.gradcheck(lambda x: edge_square_distance(x, edges), x)


def test_near_rows_far_from_the_origin_keep_their_distance():
    x = torch.tensor([[1000.0, 1000.0], [1000.25, 1000.0]])
    assert edge_square_distance(x, torch.tensor([[0], [1]])).item() == 0.0625


def test_no_tensor_of_edges_times_channels(monkeypatch):
    monkeypatch.setitem(edge_distance.CHUNK, "cpu", 1 << 12)
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (out if isinstance(out, tuple) else [out]) if isinstance(t, torch.Tensor))
            return out

    x = torch.randn(100, 50, requires_grad=True)
    with Watch():
        edge_square_distance(x, torch.randint(100, (2, 5000))).sum().backward()
    assert max(sizes) < 5000 * 50 / 10


def test_bad_input():
    with pytest.raises(DataError, match=r"expected \[N, C\] and \[2, E\]"):
        edge_square_distance(torch.ones(3), EDGES)
    with pytest.raises(DataError, match="expected ids from 0 to 3"):
        edge_square_distance(torch.ones(4, 2), EDGES)
