import pytest
import torch
from torch_geometric.data import Data

from structkd import Structure
from structkd.adapters import GraphAdapter
from structkd.distillers import GLNN, NOSMOG
from structkd.errors import ConfigError, WiringError
from structkd.models import MLP

NODES, FEATURES, CLASSES = 6, 5, 3
TEACHER = 4


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


class Linear:
    """A linear student that can be run again, and remembers on what it was."""

    def __init__(self, nodes=NODES):
        self.weight = double(FEATURES, CLASSES).requires_grad_()
        self.input = double(nodes, FEATURES)
        self.seen = []

    def replay(self, x):
        self.seen.append(x)
        return Structure(logits=x @ self.weight)

    def structure(self, **fields):
        hidden = double(len(self.input), 2).requires_grad_()
        return Structure(hidden, logits=self.input @ self.weight, input=self.input, replay=self.replay, **fields)


def teacher_side(nodes=NODES):
    return Structure(double(nodes, TEACHER), logits=double(nodes, CLASSES))


def label_loss(z_s, z_t):
    return GLNN()(Structure(logits=z_s), Structure(logits=z_t))["soft_label"]


def test_similarity_is_the_mean_over_pairs():
    student, teacher = Linear().structure(), teacher_side()
    distiller = NOSMOG(2, TEACHER, similarity_weight=0.3, adversarial_weight=0).double()
    losses = distiller(student, teacher)
    m = torch.relu(student.x @ distiller.projector.weight.t() + distiller.projector.bias)
    pairs = [(m[i] @ m[j] - teacher.x[i] @ teacher.x[j]) ** 2 for i in range(NODES) for j in range(NODES)]
    assert torch.allclose(losses["similarity"], 0.3 * sum(pairs) / NODES**2, rtol=1e-10)
    assert torch.allclose(losses["soft_label"], label_loss(student.logits, teacher.logits))


def test_the_student_learns_on_the_worst_features_of_the_box():
    student, teacher = Linear(), teacher_side()
    losses = NOSMOG(2, TEACHER, similarity_weight=0, adversarial_weight=1.0, epsilon=0.2, steps=5).double()(
        student.structure(), teacher
    )
    assert len(student.seen) == 6  # five steps and the loss itself
    assert all((x - student.input).abs().max().item() <= 0.2 + 1e-12 for x in student.seen)
    values = [label_loss(x @ student.weight, teacher.logits).item() for x in student.seen]
    assert values[-1] == pytest.approx(losses["adversarial"].item())
    # The loss is convex in the features of a linear student: every step of ascent can only raise it.
    assert values[-1] > label_loss(student.input @ student.weight, teacher.logits).item()
    assert values == sorted(values)


def test_ascent_leaves_no_gradient_behind():
    student, teacher = Linear(), teacher_side()
    teacher.logits.requires_grad_()
    structure = student.structure()
    losses = NOSMOG(2, TEACHER, similarity_weight=0).double()(structure, teacher)
    assert student.weight.grad is None and student.input.grad is None
    losses["adversarial"].backward()
    worst = student.seen[-1].detach()
    (expected,) = torch.autograd.grad(0.1 * label_loss(worst @ student.weight, teacher.logits.detach()), student.weight)
    assert torch.allclose(student.weight.grad, expected)
    assert teacher.logits.grad is None


def test_zero_at_equality():
    """With the identity for a projector and without the adversarial term, which is not zero by construction."""
    h, z = double(NODES, TEACHER).relu(), double(NODES, CLASSES)
    distiller = NOSMOG(TEACHER, TEACHER, adversarial_weight=0).double()
    torch.nn.init.eye_(distiller.projector.weight)
    torch.nn.init.zeros_(distiller.projector.bias)
    losses = distiller(Structure(h, logits=z), Structure(h, logits=z))
    assert all(abs(value.item()) < 1e-14 for value in losses.values())


def test_only_masked_rows_count():
    mask = torch.tensor([True, False, True, False, True, True])
    student, teacher = Linear(), teacher_side()
    structure = student.structure(mask=mask)
    distiller = NOSMOG(2, TEACHER).double()
    losses = distiller(structure, teacher)
    worst = student.seen[-1]
    expected = 0.1 * label_loss((worst @ student.weight)[mask], teacher.logits[mask])
    assert torch.allclose(losses["adversarial"], expected)
    rows = distiller(structure.select(mask), teacher.select(mask))
    assert all(torch.allclose(losses[name], rows[name]) for name in ("soft_label", "similarity"))


def test_node_order_does_not_matter():
    student, teacher = Linear().structure(), teacher_side()
    order = torch.randperm(NODES)
    distiller = NOSMOG(2, TEACHER, adversarial_weight=0).double()
    first, second = distiller(student, teacher), distiller(student.select(order), teacher.select(order))
    assert all(torch.allclose(first[name], second[name]) for name in first)


@pytest.mark.parametrize("nodes", [0, 1])
def test_empty_and_single(nodes):
    student = Linear(nodes)
    losses = NOSMOG(2, TEACHER).double()(student.structure(), teacher_side(nodes))
    sum(losses.values()).backward()
    assert all(bool(torch.isfinite(value)) for value in losses.values())


@pytest.mark.parametrize("sparse", [False, True])
def test_with_a_real_student_read_by_the_adapter(sparse):
    x = (torch.rand(NODES, FEATURES) < 0.5).float()
    model = MLP(FEATURES, 8, CLASSES, num_layers=2, dropout=0.3)
    adapter = GraphAdapter(inputs=("x",), taps={"x": "lins.0"}, expose_input=True)
    student = adapter(model, Data(x=x.to_sparse_csr() if sparse else x))
    distiller = NOSMOG(8, TEACHER, epsilon=0.04)
    teacher = Structure(torch.randn(NODES, TEACHER), logits=torch.randn(NODES, CLASSES))
    losses = distiller(student, teacher)
    assert losses.keys() == {"soft_label", "similarity", "adversarial"}
    sum(losses.values()).backward()
    assert all(bool(p.grad.any()) for p in model.parameters())


def test_weights_of_zero_leave_out_what_the_terms_read():
    bare = Structure(logits=double(NODES, CLASSES))
    plain = NOSMOG(2, TEACHER, similarity_weight=0, adversarial_weight=0)
    assert plain(bare, Structure(logits=double(NODES, CLASSES))).keys() == {"soft_label"}
    assert not list(plain.parameters())
    assert NOSMOG(2, TEACHER, soft_weight=0, adversarial_weight=0).double()(
        Linear().structure(), teacher_side()
    ).keys() == {"similarity"}


def test_a_student_that_cannot_be_run_again_is_an_error():
    student = Linear().structure()
    del student["replay"]
    with pytest.raises(WiringError, match=r"NOSMOG perturbs .* replay of the student"):
        NOSMOG(2, TEACHER).double()(student, teacher_side())


@pytest.mark.parametrize("options", [{"epsilon": 0}, {"tau": -1}, {"adversarial_weight": -0.1}, {"steps": -1}])
def test_bad_settings_are_refused(options):
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        NOSMOG(2, 2, **options)
