"""Edge-wise divergence: chunked against naive, and against numbers worked out by hand."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from structkd.backends import use_backend
from structkd.errors import ConfigError, DataError
from structkd.ops import edge_kl
from structkd.ops.edge_kl import edge_difference_kl
from structkd.ops.pairs import pairs_of, sum_by_pair


def graph(kind: str, nodes: int = 11) -> torch.Tensor:
    edges = torch.randint(nodes, (2, 40))
    if kind == "directed":
        return edges
    if kind == "undirected":
        return torch.cat([edges, edges.flip(0)], 1)[:, torch.randperm(80)]
    if kind == "multigraph with loops":
        return torch.cat([edges, edges[:, :9], edges.flip(0)[:, 5:20], torch.arange(nodes).expand(2, -1)], 1)
    if kind == "empty":
        return torch.empty(2, 0, dtype=torch.long)
    return torch.tensor([[3], [3]])  # a single loop


KINDS = ["directed", "undirected", "multigraph with loops", "empty", "loop"]


def value_and_gradient(z_s, *args, **kwargs):
    z_s = z_s.clone().requires_grad_()
    value = edge_difference_kl(z_s, *args, **kwargs)
    (gradient,) = torch.autograd.grad(value * 3, z_s)
    return value.detach(), gradient


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("channels", [1, 5])
def test_chunked_equals_naive(kind, scaled, channels, monkeypatch):
    monkeypatch.setitem(edge_kl.CHUNK, "cpu", 7 * channels)  # several chunks, the last one shorter
    z_s, z_t = torch.randn(2, 11, channels, dtype=torch.float64)
    z_s[4] = z_s[2]  # a difference of exactly zero
    edge_index = graph(kind)
    scale = torch.randn(edge_index.size(1), dtype=torch.float64) if scaled else None
    args = (z_s, z_t, edge_index, 1.3, scale)
    fast, naive = value_and_gradient(*args), value_and_gradient(*args, backend="naive")
    for ours, theirs in zip(fast, naive):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", ["chunked", "naive"])
def test_by_hand(backend):
    # One edge. Teacher differences (ln 3, 0): p = (3/4, 1/4). Student differences (0, ln 3): q = (1/4, 3/4).
    log3 = math.log(3)
    z_t = torch.tensor([[log3, 1.0], [0.0, 1.0]], dtype=torch.float64)
    z_s = torch.tensor([[5.0, -log3], [5.0, 0.0]], dtype=torch.float64)
    value, gradient = value_and_gradient(z_s, z_t, torch.tensor([[0], [1]]), backend=backend)
    assert value.item() == pytest.approx(0.5 * log3, abs=1e-14)  # 3/4 ln 3 - 1/4 ln 3
    # d/d(difference) = sign (q - p): 0 where the difference is 0, and -(3/4 - 1/4) for the negative one.
    expected = 3 * torch.tensor([[0.0, -0.5], [0.0, 0.5]], dtype=torch.float64)
    assert torch.allclose(gradient, expected, atol=1e-14)
    hot, _ = value_and_gradient(z_s * 4, z_t * 4, torch.tensor([[0], [1]]), tau=4.0, backend=backend)
    assert hot.item() == pytest.approx(value.item(), abs=1e-14)


def test_gradcheck_away_from_the_kink():
    z_s, z_t = torch.randn(2, 6, 4, dtype=torch.float64)
    edge_index = graph("multigraph with loops", 6)
    assert torch.autograd.gradcheck(lambda z: edge_difference_kl(z, z_t, edge_index, 0.7), z_s.requires_grad_())


def test_zero_at_equality_and_at_a_constant_shift():
    z = torch.randn(11, 5)
    value, gradient = value_and_gradient(z, z, graph("undirected"))
    assert value == 0 and not gradient.any()
    value, gradient = value_and_gradient(z.double(), (z + torch.ones(5)).double(), graph("undirected"))
    assert value.abs() < 1e-12 and gradient.abs().max() < 1e-6


def test_isolated_nodes_and_loops_get_no_gradient():
    z_s, z_t = torch.randn(2, 8, 3)
    value, gradient = value_and_gradient(z_s, z_t, torch.tensor([[0, 1, 5], [1, 0, 5]]))
    assert value > 0 and gradient[:2].any() and not gradient[2:].any()


def test_permutation_invariant():
    z_s, z_t = torch.randn(2, 11, 5, dtype=torch.float64)
    edge_index, order = graph("directed"), torch.randperm(11)
    renamed = torch.argsort(order)[edge_index]
    value, gradient = value_and_gradient(z_s, z_t, edge_index)
    moved_value, moved_gradient = value_and_gradient(z_s[order], z_t[order], renamed)
    assert torch.allclose(value, moved_value, atol=1e-12)
    assert torch.allclose(gradient[order], moved_gradient, atol=1e-12)


def test_undirected_edge_is_visited_once(monkeypatch):
    visited = []
    visit = edge_kl._visit
    monkeypatch.setattr(edge_kl, "_visit", lambda s, t, i, *rest: visited.append(i.numel()) or visit(s, t, i, *rest))
    z = torch.randn(11, 5)
    edge_difference_kl(z, -z, torch.tensor([[0, 1, 2, 3, 0], [1, 0, 3, 2, 1]]))
    assert sum(visited) == 2


def test_no_tensor_of_edges_times_channels(monkeypatch):
    monkeypatch.setitem(edge_kl.CHUNK, "cpu", 1 << 14)
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (out if isinstance(out, tuple) else [out]) if isinstance(t, torch.Tensor))
            return out

    nodes, edges, channels = 2000, 40_000, 50
    z_s, z_t = torch.randn(2, nodes, channels)
    with Watch():
        edge_difference_kl(z_s.requires_grad_(), z_t, torch.randint(nodes, (2, edges))).backward()
    assert nodes * channels <= max(sizes) < edges * channels / 10


def test_half_precision_is_computed_in_float32():
    z_s, z_t = torch.randn(2, 11, 5)
    edge_index = graph("undirected")
    value, gradient = value_and_gradient(z_s.bfloat16(), z_t.bfloat16(), edge_index)
    exact, exact_gradient = value_and_gradient(z_s.bfloat16().float(), z_t.bfloat16().float(), edge_index)
    assert gradient.dtype == torch.bfloat16 and value == exact
    assert torch.allclose(gradient.float(), exact_gradient, rtol=1e-2, atol=1e-4)


def test_extreme_logits_stay_finite():
    z_s = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [0.0, 0.0]])
    value, gradient = value_and_gradient(z_s, z_s.flip(0) * 2, torch.tensor([[0, 1], [1, 2]]))
    assert value.isfinite() and gradient.isfinite().all()


def test_nothing_to_learn_gives_a_plain_number():
    z = torch.randn(11, 5)
    assert not edge_difference_kl(z, -z, graph("directed")).requires_grad
    with torch.no_grad():
        assert not edge_difference_kl(z.requires_grad_(), -z, graph("directed")).requires_grad


def test_only_the_student_learns():
    z_s, z_t = torch.randn(2, 11, 5).unbind()
    for backend in ("chunked", "naive"):
        z_s, z_t = z_s.detach().requires_grad_(), z_t.detach().requires_grad_()
        edge_difference_kl(z_s, z_t, graph("directed"), backend=backend).backward()
        assert z_s.grad is not None and z_t.grad is None


def test_backend_can_be_forced():
    z = torch.randn(11, 5, requires_grad=True)
    with use_backend("edge_difference_kl", "reference"):
        assert "KnownGradient" not in type(edge_difference_kl(z, -z, graph("directed")).grad_fn).__name__


def test_bad_input():
    z = torch.randn(4, 3)
    with pytest.raises(DataError, match="one shape"):
        edge_difference_kl(z, torch.randn(4, 2), graph("loop"))
    with pytest.raises(DataError, match="expected ids from 0 to 3"):
        edge_difference_kl(z, z, torch.tensor([[0], [4]]))
    with pytest.raises(DataError, match="expected \\[2, E\\]"):
        edge_difference_kl(z, z, torch.zeros(3, 1, dtype=torch.long))
    with pytest.raises(DataError, match="edge_scale has shape"):
        edge_difference_kl(z, z, graph("loop"), edge_scale=torch.ones(2))
    with pytest.raises(ConfigError, match="tau is 0"):
        edge_difference_kl(z, z, graph("loop"), tau=0)


def test_pairs():
    edge_index = torch.tensor([[2, 0, 1, 1, 0, 2], [1, 1, 0, 2, 1, 2]])
    pairs = pairs_of(edge_index, 3)
    assert pairs.i.tolist() == [0, 1, 2] and pairs.j.tolist() == [1, 2, 2] and pairs.count.tolist() == [3, 2, 1]
    assert sum_by_pair(edge_index, 3, torch.tensor([1.0, 2, 4, 8, 16, 32])).tolist() == [22, 9, 32]
    assert pairs_of(edge_index, 3) is pairs
    edge_index[0, 0] = 0  # the memory notices a change
    assert pairs_of(edge_index, 3).count.tolist() == [4, 1, 1]
    assert pairs_of(edge_index[:, :0], 0).i.numel() == 0
    with pytest.raises(DataError, match="one an edge"):
        sum_by_pair(edge_index, 3, torch.ones(2))
