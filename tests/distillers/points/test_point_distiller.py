import io

import pytest
import torch
from torch import nn

from structkd import Structure
from structkd.distillers import PointDistiller
from structkd.distillers.elements import elements
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


def scene_of_all(structure):
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
