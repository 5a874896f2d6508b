import pytest
import torch
from torch_geometric.data import Data

from structkd.adapters import GraphAdapter
from structkd.distillers.graphs.ehdm import EHDM
from structkd.distillers.graphs.llp import LLP, sample_context
from structkd.models.graphs.link_heuristics import HEURISTICS, HeuristicTeacher
from structkd.models.graphs.link_predictor import LinkModel
from structkd.models.graphs.mlp import MLP
from structkd.ops.csr import csr_of
from structkd.structure import Structure


def test_raw_scores_teach_the_students_probabilities():
    anchor = torch.arange(3).repeat_interleave(5)
    student = Structure(logits=torch.randn(15, dtype=torch.float64), batch=anchor)
    counts = torch.randint(4, (15,)).double()
    losses = EHDM(tau=2.0)(student, Structure(logits=counts))
    s, t = student.logits.sigmoid().view(3, 5), counts.view(3, 5)
    p_s, p_t = (s / 2).softmax(1), (t / 2).softmax(1)
    assert float(losses["distribution"]) == pytest.approx(float((p_t * (p_t / p_s).log()).sum()) / 3, rel=1e-10)
    # LLP would squash the counts first
    assert float(losses["distribution"]) != pytest.approx(
        float(LLP(tau=2.0)(student, Structure(logits=counts))["distribution"])
    )


def test_a_student_that_scores_as_the_heuristic_is_done():
    shares = torch.rand(8, dtype=torch.float64)
    student = Structure(logits=shares.logit().requires_grad_(), batch=torch.zeros(8, dtype=torch.long))
    losses = EHDM()(student, Structure(logits=shares))
    sum(losses.values()).backward()
    assert all(float(value.detach()) == pytest.approx(0, abs=1e-12) for value in losses.values())
    assert torch.allclose(student.logits.grad, torch.zeros(8, dtype=torch.float64), atol=1e-10)


@pytest.mark.parametrize("heuristic", sorted(HEURISTICS))
def test_a_student_learns_a_heuristic_through_adapters(heuristic):
    torch.manual_seed(0)
    source, target = torch.randint(30, (2, 80))
    edge_index = torch.cat([torch.stack([source, target]), torch.stack([target, source])], dim=1)
    pairs, anchor = sample_context(csr_of(edge_index, 30), torch.arange(30))
    batch = Data(x=torch.eye(30), edge_index=edge_index, pairs=pairs, batch=anchor)
    student = LinkModel(MLP(30, 32, 16))
    read = GraphAdapter(inputs=("x", "pairs"))
    teacher = GraphAdapter(inputs=("x", "pairs", "edge_index"))(HeuristicTeacher(heuristic), batch)
    distiller, optimizer = EHDM(), torch.optim.Adam(student.parameters(), lr=0.01)
    history = []
    for _ in range(40):
        loss = sum(distiller(read(student, batch), teacher).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss.detach()))
    assert history[-1] < 0.8 * history[0]
