import math

import pytest
import torch
from torch_geometric.data import Data

from structkd import Structure
from structkd.adapters import GraphAdapter
from structkd.datasets import FullGraph, NodeBatches, NodeData, Split
from structkd.distillers import FFG2M
from structkd.errors import ConfigError, WiringError

NODES, CLASSES = 7, 4
RING = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 0], [1, 2, 3, 4, 5, 6, 0, 3]])
EDGES = torch.cat([RING, RING.flip(0)], dim=1)


def logits(nodes=NODES, classes=CLASSES):
    z_s = torch.randn(nodes, classes, dtype=torch.float64, requires_grad=True)
    return z_s, torch.randn(nodes, classes, dtype=torch.float64)


def kl(a, b):
    """KL of two rows of logits."""
    p, q = a.exp() / a.exp().sum(), b.exp() / b.exp().sum()
    return (p * (p.log() - q.log())).sum()


def naive_low(z_s, z_t, edges, reduction="edge", tau=1.0, rows=None):
    """Double loop over nodes and their neighbours, as the formula says."""
    sums, terms = [], 0
    for i in range(len(z_s)):
        sources = [*edges[0][edges[1] == i].tolist(), i]
        terms += len(sources)
        total = sum(kl(z_t[j] / tau, z_s[i] / tau) for j in sources)
        sums.append(total / len(sources) if reduction == "node" else total)
    if reduction == "edge":
        sums = [value * len(z_s) / terms for value in sums]
    chosen = range(len(z_s)) if rows is None else rows
    return sum(sums[i] for i in chosen) / len(chosen)


def naive_high(z_s, z_t, edges, tau=1.0, scale=None):
    terms = [kl((z_t[i] - z_t[j]).abs() / tau, (z_s[i] - z_s[j]).abs() / tau) for i, j in edges.t().tolist()]
    return sum(terms) / len(terms) if scale is None else sum(w * term for w, term in zip(scale, terms))


def same_gradient(a, b, leaf):
    return torch.allclose(*(torch.autograd.grad(value, leaf, retain_graph=True)[0] for value in (a, b)), rtol=1e-10)


@pytest.mark.parametrize("reduction", ["edge", "node"])
@pytest.mark.parametrize("tau, low_tau", [(1.0, 1.0), (1.5, 0.7)])
def test_both_terms_match_the_formulas(reduction, tau, low_tau):
    z_s, z_t = logits()
    distiller = FFG2M(tau, low_weight=0.3, high_weight=2.0, reduction=reduction, low_tau=low_tau)
    teacher = distiller.prepare(Structure(logits=z_t, edge_index=EDGES))
    losses = distiller(Structure(logits=z_s), teacher)
    expected = {
        "low_frequency": 0.3 * naive_low(z_s, z_t, EDGES, reduction, low_tau),
        "high_frequency": 2.0 * naive_high(z_s, z_t, EDGES, tau),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(losses[name], value, rtol=1e-10), name
        assert same_gradient(losses[name], value, z_s), name


def test_hand_computed():
    # Teacher probabilities (1/2, 1/2) and (3/4, 1/4); the student says 1/2 everywhere. Of the four terms of the low
    # loss the two from the second node are not zero; along the edge the teacher's softmax is (3/4, 1/4) again.
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    teacher = Structure(
        logits=torch.tensor([[0.0, 0.0], [math.log(3), 0.0]]), edge_index=torch.tensor([[0, 1], [1, 0]])
    )
    losses = FFG2M()(Structure(logits=torch.zeros(2, 2)), teacher)
    assert float(losses["low_frequency"]) == pytest.approx(divergence / 2)
    assert float(losses["high_frequency"]) == pytest.approx(divergence)


def test_an_unprepared_teacher_gives_the_same():
    z_s, z_t = logits()
    distiller, teacher = FFG2M(), Structure(logits=z_t, edge_index=EDGES)
    bare, ready = (distiller(Structure(logits=z_s), side) for side in (teacher, distiller.prepare(teacher)))
    assert torch.equal(bare["low_frequency"], ready["low_frequency"])
    assert teacher.provides == {"logits", "edge_index"}  # prepare works on a copy


def test_two_settings_share_a_teacher():
    z_s, z_t = logits()
    teacher = Structure(logits=z_t, edge_index=EDGES)
    settings = [{"reduction": "edge"}, {"reduction": "node"}, {"low_tau": 1.5}]
    alone = [FFG2M(**options)(Structure(logits=z_s), teacher)["low_frequency"] for options in settings]
    for options in settings:
        teacher = FFG2M(**options).prepare(teacher)
    together = [FFG2M(**options)(Structure(logits=z_s), teacher)["low_frequency"] for options in settings]
    assert all(torch.equal(a, b) for a, b in zip(alone, together))
    assert len({value.item() for value in alone}) == 3


@pytest.mark.parametrize("reduction", ["edge", "node"])
@pytest.mark.parametrize("parts", [[[0, 1, 2, 3, 4, 5, 6]], [[5, 0], [3, 1, 6], [2, 4]], [[i] for i in range(7)]])
def test_node_batches_of_the_low_term_are_exact(reduction, parts):
    z_s, z_t = logits()
    distiller = FFG2M(high_weight=0, reduction=reduction)
    teacher = distiller.prepare(Structure(logits=z_t, edge_index=EDGES))
    whole = distiller(Structure(logits=z_s), teacher)["low_frequency"]
    batches = [torch.tensor(part) for part in parts]
    total = sum(
        len(rows) / NODES * distiller(Structure(logits=z_s[rows]), teacher.select(rows))["low_frequency"]
        for rows in batches
    )
    assert torch.allclose(total, whole, rtol=1e-12)
    assert same_gradient(total, whole, z_s)


def test_edge_batches_of_the_high_term_are_exact():
    z_s, z_t = logits()
    distiller, teacher = FFG2M(1.3, low_weight=0), Structure(logits=z_t)
    whole = distiller(Structure(logits=z_s, edge_index=EDGES), teacher)["high_frequency"]
    total = 0
    for part in torch.randperm(EDGES.size(1)).split(5):
        scale = torch.full((len(part),), 1 / EDGES.size(1), dtype=torch.float64)
        student = Structure(logits=z_s, edge_index=EDGES[:, part], edge_scale=scale)
        total = total + distiller(student, teacher)["high_frequency"]
    assert torch.allclose(total, whole, rtol=1e-12)
    assert same_gradient(total, whole, z_s)


def test_a_batch_with_context_rows_distils_its_seeds_and_scaled_edges():
    """As the loaders make it: seeds in front, one row of context, every edge with its weight."""
    z_s, z_t = logits()
    distiller = FFG2M(1.2)
    whole = distiller.prepare(Structure(logits=z_t, edge_index=EDGES))
    rows, local = torch.tensor([2, 5, 3]), torch.tensor([[2, 0], [0, 2]])
    scale = torch.tensor([0.7, 0.0], dtype=torch.float64)
    mask = torch.tensor([True, True, False])
    student = Structure(logits=z_s[rows], edge_index=local, edge_scale=scale, mask=mask)
    losses = distiller(student, whole.select(rows))
    assert torch.allclose(losses["low_frequency"], naive_low(z_s, z_t, EDGES, rows=[2, 5]))
    assert torch.allclose(losses["high_frequency"], naive_high(z_s, z_t, torch.tensor([[3], [2]]), 1.2, [0.7]))


def test_a_mask_keeps_the_rest_out():
    z_s, z_t = logits()
    mask = torch.tensor([True, True, True, False, False, True, True])
    teacher = FFG2M().prepare(Structure(logits=z_t, edge_index=EDGES))
    losses = FFG2M()(Structure(logits=z_s, mask=mask), teacher)
    inside = EDGES[:, mask[EDGES[0]] & mask[EDGES[1]]]
    assert torch.allclose(losses["low_frequency"], naive_low(z_s, z_t, EDGES, rows=mask.nonzero().flatten().tolist()))
    assert torch.allclose(losses["high_frequency"], naive_high(z_s, z_t, inside))
    sum(losses.values()).backward()
    assert not bool(z_s.grad[~mask].any()) and bool(z_s.grad[mask].any())


def test_at_equality_the_high_term_is_zero_and_the_low_one_is_the_neighbours_disagreement():
    _, z = logits()
    losses = FFG2M()(Structure(logits=z), Structure(logits=z, edge_index=EDGES))
    assert float(losses["high_frequency"]) == pytest.approx(0, abs=1e-14)
    assert torch.allclose(losses["low_frequency"], naive_low(z, z, EDGES))
    alike = z[:1].expand(NODES, -1)
    losses = FFG2M()(Structure(logits=alike), Structure(logits=alike, edge_index=EDGES))
    assert float(losses["low_frequency"]) == pytest.approx(0, abs=1e-14)


def test_node_order_does_not_matter():
    z_s, z_t = logits()
    order = torch.randperm(NODES)
    place = order.argsort()
    losses = FFG2M(1.3)(Structure(logits=z_s), Structure(logits=z_t, edge_index=EDGES))
    moved = z_s.detach()[order].requires_grad_()
    other = FFG2M(1.3)(Structure(logits=moved), Structure(logits=z_t[order], edge_index=place[EDGES]))
    sum(losses.values()).backward()
    sum(other.values()).backward()
    for name in losses:
        assert torch.allclose(losses[name], other[name], rtol=1e-12)
    assert torch.allclose(moved.grad, z_s.grad[order], atol=1e-14)


def test_gradients_stay_out_of_the_teacher():
    z_s, z_t = logits()
    z_t.requires_grad_()
    teacher = FFG2M().prepare(Structure(logits=z_t, edge_index=EDGES))
    assert not any(teacher[name].requires_grad for name in FFG2M().prepared_fields)
    sum(FFG2M()(Structure(logits=z_s), teacher).values()).backward()
    assert z_t.grad is None and bool(z_s.grad.any())


@pytest.mark.parametrize("nodes, edges", [(0, 0), (1, 0), (3, 0)])
def test_without_nodes_or_edges(nodes, edges):
    z_s, z_t = logits(nodes)
    losses = FFG2M()(Structure(logits=z_s), Structure(logits=z_t, edge_index=torch.zeros(2, edges, dtype=torch.long)))
    sum(losses.values()).backward()
    assert losses["high_frequency"].item() == 0
    if nodes:  # every node is its own neighbourhood, which is GLNN's loss
        expected = sum(kl(t, s) for s, t in zip(z_s, z_t)) / nodes
        assert torch.allclose(losses["low_frequency"], expected)
    else:
        assert losses["low_frequency"].item() == 0


def test_a_weight_of_zero_leaves_the_term_and_its_needs_out():
    z_s, z_t = logits()
    low = FFG2M(high_weight=0)
    prepared = low.prepare(Structure(logits=z_t, edge_index=EDGES))
    assert low(Structure(logits=z_s), prepared.select(torch.arange(NODES))).keys() == {"low_frequency"}
    high = FFG2M(low_weight=0)
    teacher = Structure(logits=z_t)
    assert high.prepare(teacher) is teacher
    assert high(Structure(logits=z_s, edge_index=EDGES), teacher).keys() == {"high_frequency"}


def test_no_relations_is_an_error_that_says_what_to_do():
    z_s, z_t = logits()
    with pytest.raises(WiringError, match=r"FFG2M's low-frequency term .* call prepare .* provides only logits"):
        FFG2M()(Structure(logits=z_s, edge_index=EDGES), Structure(logits=z_t))
    with pytest.raises(WiringError, match=r"FFG2M compares along relations .* student provides only logits"):
        FFG2M(low_weight=0)(Structure(logits=z_s), Structure(logits=z_t))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"tau": 0}, "tau=0"),
        ({"low_tau": -1}, "low_tau=-1"),
        ({"low_weight": -0.1}, "low_weight=-0.1"),
        ({"low_weight": 0, "high_weight": 0}, "leaves no loss"),
        ({"reduction": "nodes"}, "Nearest: node"),
    ],
)
def test_bad_settings_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        FFG2M(**options)


def test_in_a_plain_training_loop():
    x, z_t = torch.randn(NODES, 3), logits()[1].float()
    mlp = torch.nn.Sequential(torch.nn.Linear(3, 32), torch.nn.ReLU(), torch.nn.Linear(32, CLASSES))
    distiller = FFG2M(tau=1.5)
    teacher = distiller.prepare(Structure(logits=z_t, edge_index=EDGES))
    optimizer = torch.optim.Adam(mlp.parameters(), lr=0.02)
    history = []
    for _ in range(100):
        loss = sum(distiller(Structure(logits=mlp(x)), teacher).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    # The low term cannot fall below the neighbours' disagreement.
    assert history[-1] < 0.6 * history[0]


def test_an_epoch_of_node_batches_is_the_full_graph():
    """Through the loader, the adapter and the teacher's rows: equal batches average to the full-batch losses."""
    nodes = torch.arange(12)
    edges = torch.randint(12, (2, 40), generator=torch.Generator().manual_seed(1))
    edges = torch.cat([edges, edges.flip(0)], dim=1)
    x = torch.randn(12, 3, dtype=torch.float64)
    split = Split(nodes[:4], nodes[4:8], nodes[8:], nodes[:0])
    data = NodeData(Data(x=x, edge_index=edges, y=nodes % 2), split)
    model, adapter, distiller = torch.nn.Linear(3, CLASSES).double(), GraphAdapter(inputs=("x",)), FFG2M(1.3)
    teacher = distiller.prepare(Structure(logits=logits(12)[1], edge_index=edges))
    (whole,) = (distiller(adapter(model, batch), teacher) for batch in FullGraph(data))
    parts = [
        distiller(adapter(model, batch), teacher.select(batch.n_id))
        for batch in NodeBatches(data, batch_size=4, fanouts=[-1])
    ]
    assert len(parts) == 3
    for name, value in whole.items():
        mean = sum(part[name] for part in parts) / 3
        assert torch.allclose(mean, value, rtol=1e-6), name  # edge_scale is float32
        got, want = (torch.autograd.grad(v, model.weight, retain_graph=True)[0] for v in (mean, value))
        assert torch.allclose(got, want, atol=1e-7), name
