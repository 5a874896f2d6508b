"""PointDistiller against the published form: concatenation on every edge."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from structkd import Structure
from structkd.distillers import PointDistiller
from structkd.distillers.elements import elements

STUDENT, TEACHER, OUT = 3, 5, 4


def sides(sizes=(20, 30), seed=0, **fields):
    """Student and teacher structures of scenes with so many elements, in float64."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(sizes)
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    shared = {
        "batch": batch,
        "importance": torch.randint(1, 9, (total,), generator=generator),
        "pos": torch.rand(total, 3, generator=generator, dtype=torch.float64),
    }
    x_s, x_t = (torch.randn(total, c, generator=generator, dtype=torch.float64) for c in (STUDENT, TEACHER))
    return Structure(x=x_s, **shared, **fields), Structure(x=x_t, **shared, **fields)


def build(channels=(STUDENT, TEACHER), seed=0, **options):
    torch.manual_seed(seed)
    distiller = PointDistiller(*channels, **({"out_channels": OUT, "n": 0.5, "k": 6} | options)).double()
    for layer in (distiller.student_edges, distiller.teacher_edges):
        if layer.gamma is not None:
            nn.init.uniform_(layer.gamma, 0.5, 1.5)
            nn.init.normal_(layer.beta)
    return distiller


def scene_of_all(structure):
    return elements(structure, "x", "test")


def published_edges(x, center, index, layer):
    """Concatenate on every edge, 1x1 convolution, batch normalisation over all of them, ReLU: [N, C', K]."""
    own = x[center].unsqueeze(1).expand(-1, index.size(1), -1)
    both = torch.cat([x[index], own], -1).permute(2, 0, 1).unsqueeze(0)
    edges = F.conv2d(both, layer.weight[:, :, None, None])
    edges = F.batch_norm(edges, None, None, layer.gamma, layer.beta, training=True)
    return edges.relu()[0].transpose(0, 1)


def published_queries(saliency, x, n, k):
    center = saliency.topk(n, sorted=False).indices
    return center, torch.cdist(x[center], x).topk(k, largest=False, sorted=False).indices


def published_pillars(student, teacher, distiller, n, k, tau):
    center, index = published_queries(teacher.importance, teacher.x, n, k)
    weight = F.softmax(teacher.importance[center].float() / tau, dim=-1) * n
    e_t = published_edges(teacher.x, center, index, distiller.teacher_edges)
    e_s = published_edges(student.x, center, index, distiller.student_edges)
    return ((e_t - e_s).square() * weight.view(-1, 1, 1)).mean() * 2


def published_scenes(student, teacher, distiller, n, k, pool=False):
    """Maps and points: per-scene queries whose weights come to the batch size (maps) or are not used (points)."""
    num_scenes = int(teacher.batch.max()) + 1
    found, start = [], 0
    for b in range(num_scenes):
        x = teacher.x[teacher.batch == b]
        center, index = published_queries(x.amax(1), x, n, k)
        found.append((center + start, index + start))
        start += len(x)
    center, index = (torch.cat(parts) for parts in zip(*found))
    e_t = published_edges(teacher.x, center, index, distiller.teacher_edges)
    e_s = published_edges(student.x, center, index, distiller.student_edges)
    if pool:
        return (e_t.amax(2) - e_s.amax(2)).square().mean() * 2
    importance = teacher.x[center].amax(1).view(num_scenes, n, 1)
    weight = (F.softmax(importance / 1e-4, dim=-1) * num_scenes).view(-1, 1, 1)
    return ((e_t - e_s).square() * weight).mean() * 2


def distinct(student, teacher):
    """Different counts, so that it does not matter which of equal ones are taken."""
    counts = torch.randperm(len(teacher.x)) / 100
    student.importance = teacher.importance = counts
    return student, teacher


def agree(value, expected, distiller, x):
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-12)
    leaves = [x, *distiller.parameters()]
    gradients = torch.autograd.grad(value, leaves)
    for got, other in zip(gradients, torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(got, other, rtol=1e-6, atol=1e-9)


class TestReference:
    def test_pillars(self):
        """Candidates of the whole batch; the softmax of the counts."""
        student, teacher = distinct(*sides())
        student.x.requires_grad_()
        distiller = build(mode="reference", n=24, k=7)
        value = distiller(student, teacher)["edge"]
        agree(value, published_pillars(student, teacher, distiller, 24, 7, 1e-2), distiller, student.x)

    def test_integer_counts_leave_only_the_fullest_pillars(self):
        student, teacher = sides()
        counts = torch.randperm(50) % 32 + 1
        counts[:5] = 40
        teacher.importance = counts
        distiller = build(mode="reference", n=45)
        value = distiller(student, teacher)["edge"]
        found = distiller._neighborhoods(scene_of_all(teacher), 6)
        assert found.weight.sum() == pytest.approx(45) and int((found.weight > 1e-6).sum()) == 5
        assert value > 0

    @pytest.mark.parametrize("pool", [None, "max"])
    def test_rows_by_activation(self, pool):
        """PointRCNN (pooled, no weights) and, as rows, SECOND (weights that come to the batch size)."""
        student, teacher = sides((25, 25, 25))
        student.x.requires_grad_()
        distiller = build(mode="reference", n=12, importance="activation", pool=pool)
        value = distiller(student, teacher)["edge"]
        agree(value, published_scenes(student, teacher, distiller, 12, 6, bool(pool)), distiller, student.x)

    def test_maps(self):
        maps = torch.randn(2, STUDENT, 4, 5, dtype=torch.float64), torch.randn(2, TEACHER, 4, 5, dtype=torch.float64)
        student, teacher = (Structure(backbone_0=m) for m in maps)
        rows = [Structure(x=m.flatten(2).transpose(1, 2).reshape(40, -1)) for m in maps]
        for side in rows:
            side.batch = torch.arange(2).repeat_interleave(20)
        distiller = build(mode="reference", n=9, importance="activation", field="backbone_0")
        torch.testing.assert_close(distiller(student, teacher)["edge"], published_scenes(*rows, distiller, 9, 6))

    def test_without_weights_it_is_a_norm(self):
        student, teacher = distinct(*sides())
        student.x.requires_grad_()
        distiller = build(mode="reference", n=24, reweight=None)
        center, index = published_queries(teacher.importance, teacher.x, 24, 6)
        e_t = published_edges(teacher.x, center, index, distiller.teacher_edges)
        expected = torch.dist(e_t, published_edges(student.x, center, index, distiller.student_edges)) * 5e-4
        agree(distiller(student, teacher)["edge"], expected, distiller, student.x)
        equal = build((TEACHER, TEACHER), mode="reference", reweight=None)
        equal.student_edges.load_state_dict(equal.teacher_edges.state_dict())
        teacher.x.requires_grad_()
        value = equal(teacher, teacher)["edge"]
        value.backward()
        assert float(value.detach()) == 0 and not teacher.x.grad.any()

    def test_running_statistics_serve_in_evaluation(self):
        student, teacher = sides()
        distiller = build(mode="reference")
        first = distiller(student, teacher)["edge"]
        layer = distiller.teacher_edges
        assert layer.running_mean.any() and not torch.equal(layer.running_var, torch.ones(OUT))
        state = {name: value.clone() for name, value in distiller.state_dict().items()}
        distiller.eval()
        assert not torch.allclose(distiller(student, teacher)["edge"], first)
        assert all(torch.equal(value, state[name]) for name, value in distiller.state_dict().items())

    def test_few_elements_are_no_crash(self):
        student, teacher = sides((4, 9))
        for importance in ("count", "activation"):
            value = build(mode="reference", importance=importance, n=6000, k=128)(student, teacher)["edge"]
            assert torch.isfinite(value)


def test_default_equals_the_formula():
    student, teacher = distinct(*sides((30,)))
    distiller = build(guard=None, n=12, tau=0.7)
    center, index = published_queries(teacher.importance, teacher.x, 12, 6)
    score = (1 + teacher.importance[center].double()).log()
    weight = torch.softmax((score - score.mean()) / score.std(unbiased=False) / 0.7, 0) * 12
    e_t = published_edges(teacher.x, center, index, distiller.teacher_edges)
    e_s = published_edges(student.x, center, index, distiller.student_edges)
    expected = ((e_t - e_s).square() * weight.view(-1, 1, 1)).mean()
    torch.testing.assert_close(distiller(student, teacher)["edge"], expected, rtol=1e-6, atol=0)


def test_edge_variance_is_that_of_the_edges():
    distiller, (student, teacher) = build(guard=None, n=10), sides((40,))
    distiller(student, teacher)
    found = distiller._neighborhoods(scene_of_all(teacher), 6)
    edges = published_edges(teacher.x, found.center, found.neighbors, distiller.teacher_edges)
    torch.testing.assert_close(distiller.edge_variance, edges.var((0, 2), unbiased=False).mean().detach())
