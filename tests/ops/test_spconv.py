"""spconv's kernels under our rules, on the CPU with one thread, where its forward pass adds up in a fixed order."""

import pytest
import torch

from structkd.ops import sparse_conv, strided_rules, submanifold_rules
from structkd.ops.spconv import index_pairs, refusals, spconv

GRID = (3, 6, 5)


@pytest.fixture
def coords(generator):
    return (torch.rand(2, *GRID, generator=generator) < 0.4).nonzero()


def rules_of(kind, coords):
    if kind == "submanifold":
        return submanifold_rules(coords, GRID, 2, (3, 3, 3))
    strided = strided_rules(coords, GRID, 2, (3, 3, 3), (2, 2, 2), (1, 1, 1))
    return strided.inverse() if kind == "inverse" else strided


KINDS = ("submanifold", "strided", "inverse")


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_those_of_the_rules(kind, coords):
    rules = rules_of(kind, coords)
    pairs, count = index_pairs(rules)
    assert pairs.dtype == count.dtype == torch.int32
    for k, (before, after) in enumerate(rules.pairs):
        assert pairs[:, k, : count[k]].tolist() == [before.tolist(), after.tolist()]
        assert bool((pairs[:, k, count[k] :] == -1).all())


@pytest.mark.parametrize("kind", KINDS)
def test_equals_ours(kind, coords, monkeypatch):
    ops = pytest.importorskip("spconv.pytorch.ops")
    # On a CPU its backward pass asks for the current CUDA stream, and then does not use it.
    monkeypatch.setattr(ops, "get_current_stream", lambda: 0)
    assert torch.get_num_threads() == 1
    rules = rules_of(kind, coords)
    x = torch.randn(rules.in_coords.size(0), 4, requires_grad=True)
    weight = torch.randn(3, 3, 3, 4, 6, requires_grad=True)
    found, expected = spconv(x, weight, rules), sparse_conv(x, weight, rules, backend="gather")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    cotangent = torch.randn_like(found)
    for ours, theirs in zip(*(torch.autograd.grad(out, [x, weight], cotangent) for out in (expected, found))):
        torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


def test_never_runs_on_a_cpu(coords):
    x, weight = torch.randn(len(coords), 4), torch.randn(3, 3, 3, 4, 6)
    assert refusals(x, weight, rules_of("submanifold", coords))
