import pytest
import torch
import torch.nn.functional as F
from torch import nn

from structkd.models.graphs.link_ensemble import GatedEnsemble
from structkd.models.graphs.link_predictor import LinkModel
from structkd.models.graphs.mlp import MLP


class Says(nn.Module):
    """Scores every pair by a function of its ends."""

    def __init__(self, score):
        super().__init__()
        self.score = score

    def forward(self, x, pairs):
        return self.score(x, pairs)


def test_the_mixture_is_of_probabilities():
    students = [LinkModel(MLP(6, 8, 4)) for _ in range(3)]
    model = GatedEnsemble(students, in_channels=6).double()
    x, pairs = torch.randn(10, 6, dtype=torch.float64), torch.randint(10, (2, 20))
    out = model(x, pairs)
    weight = model.gate(x[pairs[0]] * x[pairs[1]]).softmax(1)
    said = torch.stack([student(x, pairs)["logits"].sigmoid() for student in students], dim=1)
    assert torch.allclose(out["gate"], weight, atol=1e-12)
    assert torch.allclose(out["logits"].sigmoid(), (weight * said).sum(1), atol=1e-12)
    sparse = model.float()(x.float().to_sparse_csr(), pairs)["logits"]
    assert torch.allclose(sparse, out["logits"].float(), atol=1e-5)


def test_one_student_is_itself_and_extreme_scores_stay_finite():
    z = torch.tensor([-500.0, -3.0, 0.0, 700.0])
    model = GatedEnsemble([Says(lambda x, pairs: z)], in_channels=2)
    out = model(torch.randn(4, 2), torch.zeros(2, 4, dtype=torch.long))
    assert torch.allclose(out["logits"], z, rtol=1e-5)


def test_no_pairs():
    model = GatedEnsemble([LinkModel(MLP(2, 4, 3)), LinkModel(MLP(2, 4, 3))], in_channels=2)
    out = model(torch.randn(4, 2), torch.zeros(2, 0, dtype=torch.long))
    assert out["logits"].shape == (0,) and out["gate"].shape == (0, 2)


def test_only_the_gate_learns_and_students_stay_in_eval_mode():
    model = GatedEnsemble([LinkModel(MLP(6, 8, 4, dropout=0.5)) for _ in range(2)], in_channels=6).train()
    assert model.gate.training and not any(student.training for student in model.students)
    x, pairs = torch.randn(10, 6), torch.randint(10, (2, 20))
    model(x, pairs)["logits"].sum().backward()
    learns = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learns and all(name.startswith("gate.") for name in learns)
    assert not any(parameter.requires_grad for parameter in model.students.parameters())


def test_the_gate_finds_who_is_right_where():
    torch.manual_seed(0)
    x = F.one_hot(torch.arange(40) % 2, 2).float()
    pairs = torch.stack([torch.arange(40), (torch.arange(40) + 2) % 40])  # both ends of one kind
    truth = torch.rand(40).round()
    right = torch.where(truth > 0, 4.0, -4.0)
    kind = torch.arange(40) % 2 == 0
    model = GatedEnsemble(
        [
            Says(lambda x, pairs: torch.where(kind, right, -right)),
            Says(lambda x, pairs: torch.where(kind, -right, right)),
        ],
        in_channels=2,
    )
    optimizer = torch.optim.Adam(model.gate.parameters(), lr=0.05)
    for _ in range(60):
        loss = F.binary_cross_entropy_with_logits(model(x, pairs)["logits"], truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    gate = model(x, pairs)["gate"]
    assert gate[kind, 0].min().item() > 0.9 and gate[~kind, 1].min().item() > 0.9


def test_reset_forgets_the_gate_only():
    student = LinkModel(MLP(3, 4, 4))
    model = GatedEnsemble([student], in_channels=3)
    before = [{k: v.clone() for k, v in part.state_dict().items()} for part in (student, model.gate)]
    model.reset_parameters()
    assert all(torch.equal(value, before[0][name]) for name, value in student.state_dict().items())
    assert any(not torch.equal(value, before[1][name]) for name, value in model.gate.state_dict().items())
    assert pytest.approx(1.0) == float(model(torch.randn(3, 3), torch.tensor([[0], [1]]))["gate"].detach())
