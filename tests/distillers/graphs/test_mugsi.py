import pytest
import torch
import torch.nn.functional as F
from torch import nn

from structkd.distillers.graphs import mugsi
from structkd.distillers.graphs.mugsi import MuGSI, cluster_error, draw_per_group, gram_errors, label_propagation
from structkd.errors import ConfigError, DataError, WiringError
from structkd.structure import Structure

SIZES = [5, 1, 7, 3]


def graphs(sizes=SIZES, wide_s=4, wide_t=6, classes=3):
    """Rings of the given sizes, as one batch."""
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes, dtype=torch.long))
    edges, start = [torch.zeros(2, 0, dtype=torch.long)], 0
    for size in sizes:
        here = torch.arange(size)
        edges += [
            start + torch.stack(ends) for ends in ((here, (here + 1) % size), ((here + 1) % size, here)) if size > 1
        ]
        start += size
    cluster = torch.cat([torch.arange(size) // 2 for size in sizes] or [batch])

    def side(width, **fields):
        x = torch.randn(len(batch), width, dtype=torch.float64)
        logits = torch.randn(len(sizes), classes, dtype=torch.float64)
        return Structure(x, torch.cat(edges, dim=1), logits=logits, **fields)

    return side(wide_s, batch=batch), side(wide_t, cluster=cluster)


def build(**options):
    return MuGSI(4, 6, **options).double()


def naive(student, teacher, projector):
    batch, cluster = student.batch, teacher.cluster
    p_s, p_t = student.logits.softmax(-1), teacher.logits.softmax(-1)
    count = len(p_s)
    soft = sum(float((p_t[g] * (p_t[g] / p_s[g]).log()).sum()) for g in range(count)) / count
    graph = clusters = node = 0.0
    for g in range(count):
        x_s, x_t, own = student.x[batch == g], teacher.x[batch == g], cluster[batch == g]
        g_s, g_t = projector(x_s.sum(0)), x_t.sum(0)
        graph += (g_s / g_s.norm() - g_t / g_t.norm()).square().sum().item() / (count * len(g_t))
        names = own.unique().tolist()
        c_s, c_t = (torch.stack([x[own == c].sum(0) for c in names]) for x in (x_s, x_t))
        for a in range(len(names)):
            for b in range(len(names)):
                gap = F.cosine_similarity(c_s[a], c_s[b], dim=0) - F.cosine_similarity(c_t[a], c_t[b], dim=0)
                clusters += float(gap) ** 2 / (2 * count)
        node += float((x_s @ x_s.t() - x_t @ x_t.t()).square().mean()) / count
    return {"soft_label": soft, "graph": graph, "cluster": clusters, "node": node}


def test_every_term_is_the_formula():
    student, teacher = graphs()
    distiller = build(soft_weight=2.0, graph_weight=3.0, cluster_weight=4.0, node_weight=5.0)
    losses = distiller(student, teacher)
    expected = naive(student, teacher, distiller.projector)
    for weight, name in zip((2, 3, 4, 5), ("soft_label", "graph", "cluster", "node")):
        assert losses[name].item() == pytest.approx(weight * expected[name], rel=1e-9), name


def test_paths_match_a_walk_at_a_time(monkeypatch):
    student, teacher = graphs()
    seen = []
    walk = mugsi.random_walk
    monkeypatch.setattr(mugsi, "random_walk", lambda *args: seen.append(walk(*args)) or seen[-1])
    loss = build(node="path", node_weight=1.0, walks=3, length=4)(student, teacher)["node"]
    assert seen[0].shape == (12, 5)
    total = 0.0
    for path in seen[0].tolist():
        first, *rest = path
        p_s, p_t = ((side.x[rest] @ side.x[first]).softmax(0) for side in (student, teacher))
        total += float((p_t * (p_t / p_s).log()).sum())
        assert len({int(student.batch[node]) for node in path}) == 1
    assert loss.item() == pytest.approx(total / 12, rel=1e-9)


@pytest.mark.parametrize("node", ["gram", "path"])
def test_equal_sides_give_zero_and_only_the_student_learns(node):
    student, teacher = graphs()
    alike = MuGSI(4, 4, node=node).double()
    nn.init.eye_(alike.projector.weight)
    nn.init.zeros_(alike.projector.bias)
    assert all(value.item() == pytest.approx(0, abs=1e-12) for value in alike(student, student).values())
    for side in (student, teacher):
        side.x.requires_grad_()
        side.logits.requires_grad_()
    distiller = build(node=node)
    sum(distiller(student, teacher).values()).backward()
    assert student.x.grad.abs().sum() > 0 and student.logits.grad.abs().sum() > 0
    assert distiller.projector.weight.grad.abs().sum() > 0
    assert teacher.x.grad is None and teacher.logits.grad is None


def test_node_order_does_not_matter():
    student, teacher = graphs()
    distiller = build()
    before = distiller(student, teacher)
    order = torch.randperm(len(student.batch))
    moved = Structure(student.x[order], logits=student.logits, batch=student.batch[order])
    after = distiller(moved, Structure(teacher.x[order], logits=teacher.logits, cluster=teacher.cluster[order]))
    assert all(after[name].item() == pytest.approx(before[name].item(), rel=1e-9) for name in before)


def test_large_groups_take_the_other_form_of_the_same_norm():
    group = torch.randint(3, (40,))
    x_s, x_t = torch.randn(40, 2, dtype=torch.float64), torch.randn(40, 3, dtype=torch.float64)
    expected = []
    for g in range(4):
        s, t = x_s[group == g], x_t[group == g]
        expected.append(float((s @ s.t() - t @ t.t()).square().sum()))
    assert gram_errors(x_s, x_t, group, 4).tolist() == pytest.approx(expected, rel=1e-10)
    assert gram_errors(x_s.float(), x_s.float(), group, 4).abs().max() < 1e-9
    assert torch.autograd.gradcheck(lambda s: gram_errors(s, x_t[:9], group[:9], 3), x_s[:9].clone().requires_grad_())


def test_cluster_names_only_matter_within_a_graph():
    student, teacher = graphs()
    value = cluster_error(student.x, teacher.x, student.batch, teacher.cluster, 4)
    renamed = 9 - teacher.cluster + 3 * student.batch
    assert torch.allclose(cluster_error(student.x, teacher.x, student.batch, renamed, 4), value, atol=1e-12)


@pytest.mark.parametrize("node", ["gram", "path"])
@pytest.mark.parametrize("sizes", [[], [1], [2, 0, 1], [0]])
def test_small_and_empty_graphs(node, sizes):
    student, teacher = graphs(sizes)
    student.x.requires_grad_()
    losses = build(node=node)(student, teacher)
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert torch.isfinite(student.x.grad).all()


def test_only_masked_nodes_are_compared():
    student, teacher = graphs()
    student.mask = torch.arange(len(student.batch)) % 3 != 0
    student.x.requires_grad_()
    for node in ("gram", "path"):
        student.x.grad = None
        losses = build(node=node, soft_weight=0)(student, teacher)
        sum(losses.values()).backward()
        assert (student.x.grad[~student.mask] == 0).all() and student.x.grad[student.mask].abs().sum() > 0


def test_groups_are_drawn_from_evenly():
    group = torch.tensor([2, 0, 2, 0, 2, 5])
    rows = draw_per_group(group, 7, 3000).view(3, 3000)
    for drawn, g in zip(rows, (0, 2, 5)):
        assert bool((group[drawn] == g).all())
    share = torch.bincount(rows[1], minlength=6)[[0, 2, 4]] / 3000
    assert share.tolist() == pytest.approx([1 / 3] * 3, abs=0.04)  # over four standard deviations
    assert draw_per_group(group[:0], 0, 4).shape == (0,)


def test_label_propagation_finds_cliques():
    cliques = [torch.combinations(torch.arange(5)).t() + 5 * k for k in range(3)]
    bridges = torch.tensor([[4, 9], [5, 10]])
    edges = torch.cat([*cliques, bridges], dim=1)
    label = label_propagation(torch.cat([edges, edges.flip(0)], dim=1), 16)  # node 15 is alone
    for k in range(3):
        assert label[5 * k : 5 * k + 5].unique().numel() == 1
    assert label[[0, 5, 10, 15]].unique().numel() == 4
    assert label_propagation(torch.zeros(2, 0, dtype=torch.long), 0).shape == (0,)


def test_clusters_come_from_the_field_from_prepare_or_from_the_edges():
    student, teacher = graphs()
    bare = Structure(teacher.x, teacher.edge_index, logits=teacher.logits)
    expected = cluster_error(
        student.x, bare.x, student.batch, label_propagation(bare.edge_index, len(student.batch)), 4
    )
    for side in (bare, build().prepare(bare.clone())):
        value = build(cluster_weight=1.0)(student, side)["cluster"]
        assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    assert build().prepare(teacher).cluster is teacher.cluster
    assert "cluster" not in build(cluster_weight=0).prepare(bare.clone()).provides


def test_terms_can_be_left_out_with_what_they_read():
    student, teacher = graphs()
    only = build(graph_weight=0, cluster_weight=0, node_weight=0)
    assert set(only(student, teacher)) == {"soft_label"} and not list(only.parameters())


def test_what_is_missing_or_wrong_is_named():
    student, teacher = graphs()
    with pytest.raises(WiringError, match="batch"):
        build()(teacher, teacher)
    short = Structure(student.x, student.edge_index, logits=student.logits[:2], batch=student.batch)
    with pytest.raises(DataError, match="graph 3"):
        build()(short, teacher)
    with pytest.raises(ConfigError, match="gram"):
        build(node="grams")
