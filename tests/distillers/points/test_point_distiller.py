import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from structkd import Structure
from structkd.distillers import PointDistiller
from structkd.distillers.points.neighborhoods import importance_weights, most_important
from structkd.errors import ConfigError, DataError, WiringError

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


def scene(structure, b):
    return structure.select((structure.batch == b).nonzero().flatten())


def build(channels=(STUDENT, TEACHER), seed=0, **options):
    torch.manual_seed(seed)
    distiller = PointDistiller(*channels, **({"out_channels": OUT, "n": 0.5, "k": 6} | options)).double()
    for layer in (distiller.student_edges, distiller.teacher_edges):
        if layer.gamma is not None:
            nn.init.uniform_(layer.gamma, 0.5, 1.5)
            nn.init.normal_(layer.beta)
    return distiller


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


def scene_of_all(structure):
    from structkd.distillers.points.elements import elements

    return elements(structure, "x", "test")


OPTIONS = [
    {},
    {"guard": None},
    {"guard": "no_affine"},
    {"guard": "reconstruction"},
    {"pool": "max"},
    {"fuse": "sub", "reweight": "zscore"},
    {"importance": "activation", "reweight": "rank"},
    {"space": "position", "reweight": None},
    {"space": "both", "n": 7},
]
each_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


@each_option
def test_a_scene_does_not_feel_the_others(options):
    distiller = build(**options)
    student, teacher = sides((20, 30, 11))
    student.x.requires_grad_()
    together = distiller(student, teacher)
    alone = [distiller(scene(student, b), scene(teacher, b)) for b in range(3)]
    for name, value in together.items():
        torch.testing.assert_close(value, torch.stack([losses[name] for losses in alone]).mean())
    (gradient,) = torch.autograd.grad(together["edge"], student.x)
    (own,) = torch.autograd.grad(alone[1]["edge"], student.x)
    torch.testing.assert_close(3 * gradient[20:50], own[20:50])


@each_option
def test_order_of_elements_does_not_matter(options):
    distiller = build(**options)
    student, teacher = sides((40,))
    order = torch.randperm(40)
    before, after = distiller(student, teacher), distiller(student.select(order), teacher.select(order))
    for name in before:
        torch.testing.assert_close(before[name], after[name])


@each_option
def test_zero_where_sides_and_layers_are_equal(options):
    distiller = build((TEACHER, TEACHER), **options)
    theirs = distiller.teacher_edges
    distiller.student_edges.weight.data = theirs.weight.data.clone()
    if theirs.gamma is not None:
        distiller.student_edges.load_state_dict(theirs.state_dict())
    elif distiller.student_edges.gamma is not None:
        nn.init.ones_(distiller.student_edges.gamma)
        nn.init.zeros_(distiller.student_edges.beta)
    _, teacher = sides()
    assert float(distiller(teacher, teacher)["edge"].detach()) == pytest.approx(0, abs=1e-20)
    with torch.no_grad():
        assert float(distiller(Structure(**(teacher.to_dict() | {"x": teacher.x * 1.5 + 1})), teacher)["edge"]) < 1e-9
        other = Structure(**(teacher.to_dict() | {"x": teacher.x.flip(1)}))
        assert float(distiller(other, teacher)["edge"]) > 0.01


@pytest.mark.parametrize("options", [o for o in OPTIONS if o.get("guard") != "reconstruction"], ids=str)
def test_gradients(options):
    """Numerically, by the student's features and by everything that learns (but for what a guard stops)."""
    distiller = build(**options)
    student, teacher = sides((9, 6))
    names = [name for name, _ in distiller.named_parameters()]

    def run(x, *parameters):
        whole = Structure(**(student.to_dict() | {"x": x}))
        return tuple(torch.func.functional_call(distiller, dict(zip(names, parameters)), (whole, teacher)).values())

    leaves = [p.detach().clone().requires_grad_() for p in distiller.parameters()]
    assert torch.autograd.gradcheck(run, (student.x.requires_grad_(), *leaves))


@each_option
def test_empty_scenes_and_single_elements(options):
    distiller = build(**options)
    student, teacher = sides((6, 0, 1, 0))
    losses = distiller(student, teacher)
    alone = [distiller(scene(student, b), scene(teacher, b)) for b in (0, 2)]
    for name, value in losses.items():
        assert torch.isfinite(value)
        torch.testing.assert_close(value, (alone[0][name] + alone[1][name]) / 2)
    student, teacher = sides((0, 0))
    student.x.requires_grad_()
    losses = distiller(student, teacher)
    sum(losses.values()).backward()
    assert all(float(value.detach()) == 0 for value in losses.values()) and student.x.grad.shape == (0, STUDENT)


class TestGuards:
    def learned(self, guard):
        distiller = build(guard=guard)
        student, teacher = sides()
        student.x.requires_grad_()
        losses = distiller(student, teacher)
        gradients = torch.autograd.grad(losses["edge"], [student.x, *distiller.parameters()], allow_unused=True)
        names = ["x", *(name for name, _ in distiller.named_parameters())]
        return distiller, losses, {name for name, g in zip(names, gradients) if g is not None and g.any()}

    def test_fixed(self):
        distiller, _, learned = self.learned("fixed")
        weight = distiller.teacher_edges.weight
        torch.testing.assert_close(weight @ weight.t(), torch.eye(OUT, dtype=torch.float64), atol=1e-6, rtol=0)
        assert not list(distiller.teacher_edges.parameters())
        assert learned == {"x", "student_edges.weight", "student_edges.gamma", "student_edges.beta"}
        assert "teacher_edges.weight" in distiller.state_dict()  # a resumed run has the same target

    def test_no_affine(self):
        distiller, _, learned = self.learned("no_affine")
        assert learned == {"x", "student_edges.weight", "teacher_edges.weight"}
        assert learned == {"x", *(name for name, _ in distiller.named_parameters())}

    def test_none_is_the_published_collapse(self):
        _, _, learned = self.learned(None)
        layers = {f"{side}_edges.{name}" for side in ("student", "teacher") for name in ("weight", "gamma", "beta")}
        assert learned == {"x", *layers}

    def test_reconstruction_teaches_the_teachers_layer_alone(self):
        distiller, losses, learned = self.learned("reconstruction")
        assert learned == {"x", "student_edges.weight", "student_edges.gamma", "student_edges.beta"}
        names, parameters = zip(*distiller.named_parameters())
        gradients = torch.autograd.grad(losses["edge_reconstruction"], parameters, allow_unused=True)
        taught = {name for name, g in zip(names, gradients) if g is not None}
        assert taught == {n for n in names if n.startswith(("teacher_edges", "decoder"))}

    def test_a_decoder_that_knows_nothing_has_error_one(self):
        distiller = build(guard="reconstruction")
        nn.init.zeros_(distiller.decoder.weight)
        nn.init.zeros_(distiller.decoder.bias)
        assert float(distiller(*sides())["edge_reconstruction"].detach()) == pytest.approx(1)

    @pytest.mark.parametrize("guard", ["fixed", "no_affine", "reconstruction", None])
    def test_edge_variance_tells_a_collapse(self, guard):
        distiller = build(guard=guard)
        losses = distiller(*sides())
        assert distiller.edge_variance > 0.1 and not distiller.edge_variance.requires_grad
        assert "edge_variance" not in losses and "edge_variance" not in distiller.state_dict()
        if guard in ("reconstruction", None):
            nn.init.zeros_(distiller.teacher_edges.gamma)
            distiller(*sides())
            assert distiller.edge_variance == 0

    def test_edge_variance_is_that_of_the_edges(self):
        distiller, (student, teacher) = build(guard=None, n=10), sides((40,))
        distiller(student, teacher)
        found = distiller._neighborhoods(scene_of_all(teacher), 6)
        edges = published_edges(teacher.x, found.center, found.neighbors, distiller.teacher_edges)
        torch.testing.assert_close(distiller.edge_variance, edges.var((0, 2), unbiased=False).mean().detach())


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


def test_weights_follow_importance():
    importance = torch.tensor([1, 1, 2, 30])
    for kind in ("log", "zscore", "rank", "raw"):
        weight = importance_weights(importance, 1.0, kind)
        assert weight.sum() == pytest.approx(4) and weight[0] == weight[1] < weight[2] < weight[3]
    for kind in ("log", "zscore", "rank"):
        assert importance_weights(torch.full((5,), 7), 0.5, kind).tolist() == [1] * 5
        assert importance_weights(torch.full((5,), 0.1), 0.5, kind).tolist() == [1] * 5
        scaled = importance_weights(importance.double() * (1 if kind == "log" else 100), 1.0, kind)
        torch.testing.assert_close(scaled.float(), importance_weights(importance, 1.0, kind))
    tiny = importance_weights(importance.double() * 1e-9, 1.0, "zscore")
    torch.testing.assert_close(tiny.float(), importance_weights(importance, 1.0, "zscore"))
    by_hand = torch.softmax(torch.tensor([-1.0, -1.0, 0.5, 1.5]) / torch.tensor(4.5 / 4).sqrt(), 0) * 4
    torch.testing.assert_close(importance_weights(importance, 1.0, "rank"), by_hand)
    assert importance_weights(torch.tensor([-5.0, 0.0, 5.0]), 1.0, "log").isfinite().all()


def test_most_important():
    importance, x = torch.tensor([1, 5, 1, 5, 2]), torch.tensor([[3.0], [0.0], [4.0], [1.0], [9.0]])
    assert most_important(importance, x, 4).tolist() == [3, 1, 4, 2]
    assert most_important(importance, x, 0.5).tolist() == [3, 1, 4]  # rounded up
    assert len(most_important(torch.rand(30), torch.rand(30, 1), 0.1)) == 3
    assert len(most_important(importance, x, 100)) == 5 and len(most_important(importance, x, 1.0)) == 5


def test_weights_reach_the_loss():
    student, teacher = sides((20,))
    distiller = build(n=1.0)
    before = distiller(student, teacher)["edge"]
    teacher.importance = teacher.importance.flip(0)
    assert not torch.isclose(distiller(student, teacher)["edge"], before, rtol=1e-3)


def test_maps_are_scenes_of_cells():
    distiller = build(field="neck", importance="activation")
    maps = torch.randn(2, STUDENT, 4, 6, dtype=torch.float64), torch.randn(2, TEACHER, 4, 6, dtype=torch.float64)
    student, teacher = (Structure(neck=m) for m in maps)
    value = distiller(student, teacher)["edge"]
    rows = build(importance="activation")
    as_rows = [Structure(x=m[0].flatten(1).t()) for m in maps], [Structure(x=m[1].flatten(1).t()) for m in maps]
    expected = (rows(*as_rows[0])["edge"] + rows(*as_rows[1])["edge"]) / 2
    torch.testing.assert_close(value, expected)
    with pytest.raises(WiringError, match="Use importance='activation'"):
        counting = build(field="neck")
        teacher.importance = torch.ones(2)
        counting(student, teacher)


def test_space_is_where_neighbours_are_near():
    _, teacher = sides((30,))
    teacher.x[:, 0], teacher.pos[:, 0] = 100 * torch.arange(30), 100 * torch.arange(30).flip(0)
    teacher.pos[0], teacher.x[29] = teacher.pos[20], teacher.x[5]
    rows = scene_of_all(teacher)

    def nearest(space, row):
        found = build(n=1.0, k=2, space=space)._neighborhoods(rows, 2)
        return set(found.neighbors[(found.center == row).nonzero().item()].tolist())

    assert nearest("feature", 29) == {29, 5} and nearest("position", 0) == {0, 20}
    assert nearest("both", 10) < {9, 10, 11}


def test_masked_elements_play_no_part():
    student, teacher = sides((20, 30))
    mask = torch.rand(50) < 0.7
    student.mask = mask
    distiller = build()
    value = distiller(student, teacher)["edge"]
    kept = mask.nonzero().flatten()
    student, teacher = student.select(kept), teacher.select(kept)
    del student.mask
    torch.testing.assert_close(value, distiller(student, teacher)["edge"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision(dtype):
    student, teacher = sides()
    expected = build()(student, teacher)["edge"]
    for side in (student, teacher):
        side.x = side.x.to(dtype)
    distiller = build().to(dtype)
    value = distiller(student, teacher)["edge"]
    assert value.dtype == torch.float32 and value.item() == pytest.approx(
        expected.item(), rel=1e-4 if dtype == torch.float32 else 0.2
    )


def test_seed_and_threads_do_not_change_the_loss():
    values = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            student, teacher = sides((300, 200))
            student.x.requires_grad_()
            value = build(k=32, n=1.0)(student, teacher)["edge"]
            values.append((value.detach(), torch.autograd.grad(value, student.x)[0]))
        finally:
            torch.set_num_threads(1)
    assert torch.equal(values[0][0], values[1][0]) and torch.equal(values[0][1], values[1][1])


def test_state_comes_back():
    distiller = build()
    file = io.BytesIO()
    torch.save(distiller.state_dict(), file)
    file.seek(0)
    other = build(seed=1)
    student, teacher = sides()
    assert not torch.equal(other(student, teacher)["edge"], distiller(student, teacher)["edge"])
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(student, teacher)["edge"], distiller(student, teacher)["edge"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 1.5}, "share up to 1.0"),
        ({"n": 0}, "n=0"),
        ({"k": 0}, "k=0"),
        ({"tau": 0.0}, "tau=0"),
        ({"guard": "frozen"}, "guard='frozen'"),
        ({"pool": "mean"}, "pool='mean'"),
        ({"space": "z"}, "space='z'"),
        ({"importance": "weight"}, "importance='weight'"),
        ({"mode": "reference", "guard": "fixed"}, "knows no guard"),
        ({"mode": "reference", "reweight": "rank"}, "raw weights"),
        ({"mode": "reference", "pool": "max"}, "published with importance='activation'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ConfigError, match=message):
        build(**options)


def test_bad_sides():
    distiller = build()
    student, teacher = sides()
    with pytest.raises(WiringError, match="importance of the teacher"):
        distiller(student, Structure(x=teacher.x))
    with pytest.raises(DataError, match=r"\[50\] on the student's side and \[20\]"):
        distiller(student, scene(teacher, 0))
    student.n_id, teacher.n_id = torch.arange(50), torch.arange(50).flip(0)
    with pytest.raises(DataError, match="n_id of student and teacher differ"):
        distiller(student, teacher)
    del student.n_id
    student.batch = student.batch.flip(0)
    with pytest.raises(DataError, match="batch must be ascending"):
        distiller(student, teacher)
    _, teacher = sides()
    del teacher.pos
    with pytest.raises(WiringError, match="reads pos of the teacher"):
        build(space="both")(sides()[0], teacher)
