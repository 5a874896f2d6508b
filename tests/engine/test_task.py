import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from structkd import Structure
from structkd.adapters import GraphAdapter
from structkd.distillers import GLNN, Distiller
from structkd.engine import Comparison, DistillTask, LiveTeacher, StoredTeacher
from structkd.engine.objectives import Classification
from structkd.engine.schedules import Weight, weight
from structkd.errors import DataError, WiringError


class FeatureDistance(Distiller):
    """Reads a tap on both sides; counts how often it was prepared."""

    reads = frozenset({"x"})

    def __init__(self):
        super().__init__()
        self.prepared = 0

    def prepare(self, teacher):
        self.prepared += 1
        return teacher

    def forward(self, student, teacher):
        return {"distance": (student.x - teacher.x).square().mean()}


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def task(**changes):
    settings = dict(student=mlp(), adapter=GraphAdapter(["x"], {"x": "0"}), objective=Classification())
    return DistillTask(**(settings | changes))


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return Data(
        x=torch.randn(5, 3), n_id=torch.arange(5), y=torch.tensor([0, 1, -1, -1, -1]), label_scale=0.5,
        mask=torch.ones(5, dtype=torch.bool),
    )  # fmt: skip


def live(seed=1, **options):
    return LiveTeacher(mlp(seed), GraphAdapter(["x"], {"x": "0"}), **options)


def test_wiring_names_both_sides():
    with pytest.raises(WiringError, match=r"'far' \(FeatureDistance\) reads x of the student's adapter.*logits"):
        task(
            adapter=GraphAdapter(["x"]),
            comparisons={"far": Comparison(FeatureDistance(), "t", weight(1))},
            teachers={"t": live()},
        )
    with pytest.raises(WiringError, match=r"of the teacher 't', which provides only .*logits"):
        teacher = LiveTeacher(mlp(), GraphAdapter(["x"]))
        task(comparisons={"far": Comparison(FeatureDistance(), "t", weight(1))}, teachers={"t": teacher})
    with pytest.raises(WiringError, match=r"names the teacher 'u', but the teachers are \['t'\]"):
        task(comparisons={"kd": Comparison(GLNN(), "u", weight(1))}, teachers={"t": live()})
    with pytest.raises(WiringError, match="but is given none"):
        task(comparisons={"kd": Comparison(GLNN(), None, weight(1))})


def test_losses_are_weighted_and_named(batch):
    distance = FeatureDistance()
    t = task(
        comparisons={
            "kd": Comparison(GLNN(), "t", weight(2.0)),
            "far": Comparison(distance, "t", Weight(0.0, 1.0, 0, 10)),
        },
        teachers={"t": live()},
        objective_weight=0.5,
    ).eval()
    t.set_progress(5, 20)
    losses = t(batch, mode="loss")
    assert set(losses) == {"loss/task", "loss/kd.soft_label", "loss/far.distance"}
    student, teacher = t.val_structure(batch), t.teachers["t"](batch)
    torch.testing.assert_close(losses["loss/kd.soft_label"], 2 * GLNN()(student, teacher)["soft_label"])
    torch.testing.assert_close(losses["loss/far.distance"], 0.5 * (student.x - teacher.x).square().mean())
    expected = nn.functional.cross_entropy(student.logits[:2], batch.y[:2])
    torch.testing.assert_close(losses["loss/task"], 0.5 * expected)


def test_teachers_are_no_part_of_the_task(batch):
    teacher = live()
    before = {k: v.clone() for k, v in teacher.model.state_dict().items()}
    t = task(comparisons={"kd": Comparison(GLNN(), "t", weight(1))}, teachers={"t": teacher}).train()
    assert not [key for key in t.state_dict() if not key.startswith("student.")]
    optimizer = torch.optim.SGD(t.parameters(), lr=0.1)
    sum(t(batch, mode="loss").values()).backward()
    optimizer.step()
    assert not teacher.model.training
    assert all(p.grad is None for p in teacher.model.parameters())
    for key, value in teacher.model.state_dict().items():  # BatchNorm statistics included
        assert torch.equal(value, before[key]), key


def test_momentum_teacher_follows_the_student():
    teacher = live(momentum=0.75)
    t = task(comparisons={"kd": Comparison(GLNN(), "t", weight(1))}, teachers={"t": teacher})
    start = teacher.model[0].weight.clone()
    t.after_step()
    torch.testing.assert_close(teacher.model[0].weight, 0.75 * start + 0.25 * t.student[0].weight)
    assert torch.equal(teacher.state_dict()["0.weight"], teacher.model[0].weight)


def test_stored_teacher_looks_up_by_global_id():
    ids = torch.tensor([9, 2, 5])
    stored = StoredTeacher(Structure(logits=torch.arange(6.0).view(3, 2), n_id=ids, codebook=torch.ones(7)))
    part = stored(Data(n_id=torch.tensor([5, 9])))
    assert part.logits.tolist() == [[4, 5], [0, 1]]
    assert part.codebook.shape == (7,)
    whole = stored(Data(n_id=ids))
    assert whole.logits.data_ptr() == stored.structure.logits.data_ptr()  # no row was copied
    for unknown in (3, 10):
        with pytest.raises(DataError, match=rf"n_id \[{unknown}\]"):
            stored(Data(n_id=torch.tensor([2, unknown])))
    with pytest.raises(DataError, match="more than once"):
        StoredTeacher(Structure(logits=torch.zeros(2, 1), n_id=torch.tensor([1, 1])))


def test_each_distiller_prepares_its_teacher_once(batch):
    distance = FeatureDistance()
    structure = Structure(x=torch.zeros(5, 4), logits=torch.zeros(5, 2), n_id=torch.arange(5))
    t = task(comparisons={"far": Comparison(distance, "t", weight(1))}, teachers={"t": StoredTeacher(structure)})
    t(batch, mode="loss")
    t(batch, mode="loss")
    assert distance.prepared == 1


def test_unequal_parts_of_a_batch_are_weighed(batch):
    t = task().eval()
    whole = t(batch, mode="loss")["loss/task"]
    batch.share = 0.8
    torch.testing.assert_close(t(batch, mode="loss")["loss/task"], 0.8 * whole)


def test_losses_a_model_owes_are_added(batch):
    class Owing(nn.Module):
        def forward(self, x):
            return {"logits": x[:, :2], "losses": {"balance": x.mean()}}

    losses = task(student=Owing(), adapter=GraphAdapter(["x"]))(batch, mode="loss")
    torch.testing.assert_close(losses["loss/model.balance"], batch.x.mean())
