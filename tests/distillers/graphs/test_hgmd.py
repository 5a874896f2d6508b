import math

import pytest
import torch

from structkd.distillers.graphs.hgmd import HGMD, balanced, hardness, mixed_kl
from structkd.errors import ConfigError, WiringError
from structkd.structure import Structure

SCHEMES = ["mixup", "weight"]


def graph(nodes=10, edges=30, classes=4):
    edge_index = torch.randint(nodes, (2, edges))
    return tuple(
        Structure(logits=2 * torch.randn(nodes, classes, dtype=torch.float64), edge_index=edge_index) for _ in "st"
    )


def kl(target, prediction):
    return float((target * (target.log() - prediction.log())).sum())


def naive_hardness(logits):
    h = [-sum(float(p) * math.log(p) for p in row) for row in logits.softmax(-1)]
    return [value / max(h) for value in h]


def naive_chance(student, teacher, alpha):
    p = teacher.logits.softmax(-1)
    h_t, h_s = naive_hardness(teacher.logits), naive_hardness(student.logits)
    alike, chance = [], []
    for j, i in student.edge_index.t().tolist():
        cosine = float(p[i] @ p[j] / p[i].norm() / p[j].norm())
        alike.append(cosine)
        chance.append(1 - math.exp(-alpha * cosine * math.sqrt(h_t[i] * h_s[i]) / h_t[j]))
    return torch.tensor(alike, dtype=torch.float64), torch.tensor(chance, dtype=torch.float64)


def test_the_chance_to_be_drawn_is_the_formula():
    student, teacher = graph()
    expected = naive_chance(student, teacher, 2.5)
    for prepared in (teacher, HGMD().prepare(teacher)):
        alike, chance = HGMD(alpha=2.5)._chance(student, prepared, student.edge_index)
        assert torch.allclose(alike, expected[0], atol=1e-10)
        assert torch.allclose(chance, expected[1], atol=1e-10)


def test_hardness_is_the_share_of_the_largest_entropy():
    logits = torch.randn(6, 3, dtype=torch.float64)
    assert torch.allclose(hardness(logits), torch.tensor(naive_hardness(logits), dtype=torch.float64), atol=1e-12)
    certain = hardness(torch.tensor([[900.0, 0.0], [0.0, 0.0]]))
    assert certain.tolist() == [pytest.approx(1e-8), 1.0]
    assert hardness(torch.zeros(0, 3)).shape == (0,)


def test_alpha_falls_to_a_hundredth():
    distiller = HGMD(alpha=5.0)
    seen = []
    for epoch in (0, 50, 100):
        distiller.set_progress(epoch, 101)
        seen.append(distiller.alpha)
    assert seen == pytest.approx([5.0, 0.5, 0.05])
    distiller.set_progress(0, 1)
    assert distiller.alpha == 5.0


def test_mixed_targets_match_the_sum_over_edges():
    student, teacher = graph()
    z, labels, edges = student.logits, (teacher.logits / 0.7).softmax(-1), student.edge_index
    share, weight = torch.rand(30, dtype=torch.float64), torch.randint(3, (30,)).double()
    predicted = (z / 0.7).softmax(-1)
    expected = sum(
        w * kl((1 - a) * labels[i] + a * labels[j], predicted[i])
        for (j, i), a, w in zip(edges.t().tolist(), share.tolist(), weight.tolist())
    )
    assert float(mixed_kl(z, labels, edges, share, weight, 0.7)) == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda z: mixed_kl(z, labels, edges, share, weight, 0.7), z.requires_grad_())


def test_mixed_targets_meet_zeros_and_slices_of_edges(monkeypatch):
    monkeypatch.setattr("structkd.distillers.graphs.hgmd.edge_slice", lambda width: 3)
    labels = torch.eye(3, dtype=torch.float64)
    edges = torch.tensor([[0, 1, 2, 0], [1, 1, 0, 2]])
    share = torch.tensor([0.0, 0.4, 1.0, 0.25], dtype=torch.float64)
    value = mixed_kl(
        torch.zeros(3, 3, dtype=torch.float64), labels, edges, share, torch.ones(4, dtype=torch.float64), 1.0
    )
    by_hand = 3 * math.log(3) + math.log(3) + 0.25 * math.log(0.25) + 0.75 * math.log(0.75)
    assert float(value) == pytest.approx(by_hand, abs=1e-12)


def test_balanced_weights_keep_every_nodes_total():
    target = torch.tensor([0, 0, 0, 1, 3])
    score = torch.tensor([0.5, 0.2, 0.9, 0.1, 0.0], dtype=torch.float64)
    weight = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    node, edge = balanced(target, score, weight, 4)
    assert node.tolist() == pytest.approx([3 / 1.7, 2 / 1.1, 1.0, 2.0])
    assert edge.tolist() == pytest.approx([3 * 0.5 / 1.7, 3 * 0.2 / 1.7, 0.0, 2 * 0.1 / 1.1, 0.0])
    totals = node + torch.zeros(4, dtype=torch.float64).index_add(0, target, edge)
    assert totals.tolist() == pytest.approx([3, 2, 1, 2])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_loss_is_the_formula_when_every_edge_is_drawn(scheme, monkeypatch):
    student, teacher = graph()
    monkeypatch.setattr(torch, "bernoulli", lambda chance: torch.ones_like(chance))
    # with Beta(1e6, 1e6) every draw is one half
    loss = HGMD(scheme, tau=1.2, alpha=3.0, beta=1e6)(student, teacher)["subgraph_label"]
    p_s, p_t = (student.logits / 1.2).softmax(-1), (teacher.logits / 1.2).softmax(-1)
    alike, chance = naive_chance(student, teacher, 3.0)
    edges = [
        (j, i, float(c), float(k)) for (j, i), c, k in zip(student.edge_index.t().tolist(), alike, chance) if i != j
    ]
    total = 0.0
    for i in range(10):
        mine = [(j, c, k) for j, to, c, k in edges if to == i]
        if scheme == "mixup":
            total += kl(p_t[i], p_s[i])
            total += sum(kl((1 - k / 2) * p_t[i] + k / 2 * p_t[j], p_s[i]) for j, c, k in mine)
        else:
            norm = 1 + sum(c * k for _, c, k in mine)
            terms = kl(p_t[i], p_s[i]) + sum(c * k * kl(p_t[j], p_s[i]) for j, c, k in mine)
            total += (1 + len(mine)) / norm * terms
    assert float(loss) == pytest.approx(total / (len(edges) + 10), rel=2e-3 if scheme == "mixup" else 1e-10)


def test_edges_are_drawn_by_their_chance():
    nodes = 6001
    edge_index = torch.stack([torch.zeros(nodes - 1, dtype=torch.long), torch.arange(1, nodes)])
    logits = torch.zeros(nodes, 2, dtype=torch.float64)
    logits[0, 0] = 2.0
    student = Structure(logits=torch.zeros_like(logits), edge_index=edge_index)
    teacher = Structure(logits=logits, edge_index=edge_index)
    distiller = HGMD("weight", alpha=0.4)
    alike, chance = distiller._chance(student, teacher, edge_index)
    assert 0.2 < float(chance[0]) < 0.8 and bool((chance == chance[0]).all())
    student.logits[0] = logits[0]  # node 0's own label costs nothing; the others' neither
    _, after = distiller._chance(student, teacher, edge_index)
    loss = float(distiller(student, teacher)["subgraph_label"])
    one = kl(logits[0].softmax(-1), torch.tensor([0.5, 0.5], dtype=torch.float64))
    chance = float(after[0])
    score = float(alike[0]) * chance
    cost = 2 * score / (1 + score) * one  # of a drawn edge: two labels a node, balanced
    share = loss / cost  # K / (K + nodes)
    drawn = share * nodes / (1 - share) / (nodes - 1)
    assert drawn == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / (nodes - 1)))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_equal_labels_give_zero_and_gradient_is_the_students(scheme):
    student, teacher = graph()
    flat = Structure(logits=torch.randn(4, dtype=torch.float64).expand(10, 4), edge_index=student.edge_index)
    assert float(HGMD(scheme)(flat, flat)["subgraph_label"]) == pytest.approx(0, abs=1e-13)
    for side in (student, teacher):
        side.logits.requires_grad_()
    HGMD(scheme)(student, teacher)["subgraph_label"].backward()
    assert student.logits.grad.abs().sum() > 0
    assert teacher.logits.grad is None


@pytest.mark.parametrize("scheme", SCHEMES)
def test_node_order_does_not_matter(scheme, monkeypatch):
    student, teacher = graph()
    monkeypatch.setattr(torch, "bernoulli", lambda chance: (chance > 0.5).to(chance))
    order = torch.randperm(10)
    place = order.argsort()
    moved = [Structure(logits=side.logits[order], edge_index=place[student.edge_index]) for side in (student, teacher)]
    values = []
    for sides in ((student, teacher), moved):
        torch.manual_seed(1)
        values.append(float(HGMD(scheme)(*sides)["subgraph_label"]))
    assert values[0] == pytest.approx(values[1], abs=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_only_masked_rows_are_distilled(scheme):
    student, teacher = graph()
    student.mask = torch.arange(10) < 4
    student.logits.requires_grad_()
    HGMD(scheme)(student, teacher)["subgraph_label"].backward()
    assert (student.logits.grad[4:] == 0).all()
    assert (student.logits.grad[:4].abs().sum(1) > 0).all()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("nodes", [0, 1])
def test_nothing_to_compare(scheme, nodes):
    logits = torch.randn(nodes, 3, dtype=torch.float64, requires_grad=True)
    both = Structure(logits=logits, edge_index=torch.zeros(2, 0, dtype=torch.long))
    loss = HGMD(scheme)(both, HGMD(scheme).prepare(both.detach()))["subgraph_label"]
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-15)


def test_a_batch_cut_from_the_whole_keeps_the_wholes_hardness():
    student, teacher = graph()
    whole = HGMD().prepare(teacher)
    rows = torch.tensor([3, 1, 4])
    cut = whole.select(rows)
    assert torch.equal(cut.hardness, hardness(teacher.logits)[rows])
    local = Structure(logits=student.logits[rows], edge_index=torch.tensor([[0, 1], [1, 2]]))
    assert torch.isfinite(HGMD()(local, cut)["subgraph_label"])


def test_what_is_missing_or_wrong_is_named():
    logits = torch.zeros(2, 2)
    with pytest.raises(WiringError, match="edge_index"):
        HGMD()(Structure(logits=logits), Structure(logits=logits))
    with pytest.raises(ConfigError, match="mixup"):
        HGMD("mixup2")
    with pytest.raises(ConfigError, match="beta"):
        HGMD(beta=0.0)
