"""FF-G2M's losses: the fast forms against tensors over edges, and their mini-batches."""

import math

import pytest
import torch
import torch.nn.functional as F

from structkd.errors import ConfigError, DataError
from structkd.losses import edge_kl, high_frequency, low_frequency, low_frequency_edges, neighbor_targets

NODES, CLASSES = 9, 4
GRAPHS = {
    "undirected": lambda: torch.cat([(e := torch.randint(NODES, (2, 15))), e.flip(0)], 1),
    "directed": lambda: torch.randint(NODES, (2, 20)),
    "multigraph with loops": lambda: torch.tensor([[0, 0, 0, 3, 4, 4], [1, 1, 2, 3, 4, 4]]),
    "empty": lambda: torch.empty(2, 0, dtype=torch.long),
}


@pytest.fixture
def sides():
    z_s, z_t = torch.randn(2, NODES, CLASSES, dtype=torch.float64)
    return z_s.requires_grad_(), z_t.softmax(-1)


def with_gradient(value, z_s):
    return value.detach(), torch.autograd.grad(value, z_s)[0]


@pytest.mark.parametrize("kind", GRAPHS)
def test_low_frequency_equals_the_published_form(kind, sides):
    z_s, p_t = sides
    edge_index = GRAPHS[kind]()
    fast = with_gradient(low_frequency(z_s, neighbor_targets(p_t, edge_index)), z_s)
    published = with_gradient(low_frequency_edges(z_s, p_t, edge_index), z_s)
    for ours, theirs in zip(fast, published):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", GRAPHS)
def test_node_reduction_is_a_mean_of_means(kind, sides):
    z_s, p_t = sides
    edge_index = GRAPHS[kind]()
    rows = []
    for i in range(NODES):
        p = p_t[torch.cat([edge_index[0, edge_index[1] == i], torch.tensor([i])])]
        rows.append((p * (p.log() - z_s[i].log_softmax(-1))).sum(-1).mean())
    naive = with_gradient(torch.stack(rows).mean(), z_s)
    fast = with_gradient(low_frequency(z_s, neighbor_targets(p_t, edge_index, "node")), z_s)
    for ours, theirs in zip(fast, naive):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


def test_low_frequency_by_hand():
    # Nodes 0 -> 1. Node 1 learns (3/4, 1/4) of node 0 and (1/2, 1/2) of itself, node 0 only its own.
    p_t = torch.tensor([[0.75, 0.25], [0.5, 0.5]], dtype=torch.float64)
    z_s = torch.zeros(2, 2, dtype=torch.float64)  # (1/2, 1/2) everywhere
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    edge_index = torch.tensor([[0], [1]])
    assert low_frequency(z_s, neighbor_targets(p_t, edge_index)).item() == pytest.approx(2 * divergence / 3)
    node_mean = (divergence + divergence / 2) / 2
    assert low_frequency(z_s, neighbor_targets(p_t, edge_index, "node")).item() == pytest.approx(node_mean)


@pytest.mark.parametrize("reduction", ["edge", "node"])
def test_minimum_is_the_mean_of_the_neighbourhood(reduction, sides):
    _, p_t = sides
    edge_index = GRAPHS["undirected"]()
    targets = neighbor_targets(p_t, edge_index, reduction)
    best = (targets.target / targets.target.sum(-1, keepdim=True)).log().requires_grad_()
    value, gradient = with_gradient(low_frequency(best, targets), best)
    assert value > 0 and gradient.abs().max() < 1e-15
    same = neighbor_targets(p_t[:1].expand(NODES, -1), edge_index, reduction)
    assert low_frequency(p_t[:1].log().expand(NODES, -1), same).abs() < 1e-14  # neighbours agree: zero


@pytest.mark.parametrize("reduction", ["edge", "node"])
def test_node_batches_average_to_the_whole(reduction, sides):
    z_s, p_t = sides
    targets = neighbor_targets(p_t, GRAPHS["directed"](), reduction)
    whole = with_gradient(low_frequency(z_s, targets), z_s)
    parts = torch.randperm(NODES).view(3, 3)
    mean = with_gradient(torch.stack([low_frequency(z_s[p], targets.rows(p)) for p in parts]).mean(), z_s)
    for ours, theirs in zip(mean, whole):
        assert torch.allclose(ours, theirs, atol=1e-14)


def test_targets_follow_a_permutation(sides):
    _, p_t = sides
    edge_index, order = GRAPHS["directed"](), torch.randperm(NODES)
    targets = neighbor_targets(p_t, edge_index)
    moved = neighbor_targets(p_t[order], torch.argsort(order)[edge_index])
    assert torch.allclose(moved.target, targets.target[order]) and torch.allclose(moved.offset, targets.offset[order])


def test_certain_teacher_and_no_rows(sides):
    z_s, _ = sides
    certain = F.one_hot(torch.arange(NODES) % CLASSES, CLASSES).double()
    targets = neighbor_targets(certain, GRAPHS["directed"]())
    value, gradient = with_gradient(low_frequency(z_s, targets), z_s)
    assert value.isfinite() and gradient.isfinite().all()  # 0 log 0
    none = torch.zeros(0, dtype=torch.long)
    assert low_frequency(z_s[none], targets.rows(none)) == 0
    empty = torch.empty(0, CLASSES)
    assert low_frequency(empty, neighbor_targets(empty, GRAPHS["empty"]())) == 0


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("weighted", [False, True])
def test_edge_kl_equals_the_sum_over_edges(kind, weighted, sides):
    z_s, p_t = sides
    edge_index = GRAPHS[kind]()
    count = edge_index.size(1)
    weight = torch.rand(count, dtype=torch.float64).requires_grad_() if weighted else None
    source, target = edge_index
    terms = (p_t[source] * (p_t[source].log() - (z_s[target] / 1.2).log_softmax(-1))).sum(-1)
    naive = (weight * terms).sum() if weighted else terms.sum() / max(count, 1)
    fast = edge_kl(z_s, p_t, edge_index, 1.2, weight)
    assert torch.allclose(fast, naive, rtol=0, atol=1e-10)
    learn = [z_s, weight] if weighted else [z_s]
    for ours, theirs in zip(torch.autograd.grad(fast, learn), torch.autograd.grad(naive, learn)):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


def test_edge_kl_leaves_out_edges_of_weight_zero(sides):
    z_s, p_t = sides
    edge_index = GRAPHS["directed"]()
    keep = torch.rand(edge_index.size(1)) < 0.5
    chosen = edge_kl(z_s, p_t, edge_index[:, keep], weight=torch.ones(int(keep.sum())))
    assert torch.allclose(edge_kl(z_s, p_t, edge_index, weight=keep.float()), chosen)


def test_high_frequency_is_the_edge_op(sides):
    z_s, z_t = torch.randn(2, NODES, CLASSES)
    edge_index = GRAPHS["undirected"]()
    source, target = edge_index
    difference = F.log_softmax((z_s[source] - z_s[target]).abs() / 1.5, -1)
    goal = F.log_softmax((z_t[source] - z_t[target]).abs() / 1.5, -1)
    published = F.kl_div(difference, goal, reduction="batchmean", log_target=True)
    assert torch.allclose(high_frequency(z_s, z_t, edge_index, 1.5), published, atol=1e-6)
    per_edge = torch.full((edge_index.size(1),), 1 / edge_index.size(1))
    assert torch.allclose(high_frequency(z_s, z_t, edge_index, 1.5, per_edge), published, atol=1e-6)


def test_bad_input(sides):
    z_s, p_t = sides
    with pytest.raises(ConfigError, match="reduction is 'mean'"):
        neighbor_targets(p_t, GRAPHS["empty"](), "mean")
    with pytest.raises(DataError, match="targets"):
        low_frequency(z_s[:3], neighbor_targets(p_t, GRAPHS["empty"]()))
    with pytest.raises(DataError, match="from 0 to 8"):
        neighbor_targets(p_t, torch.tensor([[0], [9]]))
