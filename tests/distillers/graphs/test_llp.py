import itertools
import math

import pytest
import torch

from structkd.distillers.graphs.llp import LLP, by_anchor, sample_context
from structkd.errors import ConfigError, DataError, WiringError
from structkd.ops.csr import CSR
from structkd.structure import Structure


def candidates(anchors=4, length=6, **fields):
    def side():
        return Structure(logits=2 * torch.randn(anchors * length, dtype=torch.float64), batch=anchor, **fields)

    anchor = torch.arange(anchors).repeat_interleave(length)
    return side(), side()


def naive(student, teacher, tau, margin, squash):
    """Both terms, one anchor and one pair at a time."""
    distribution = ranking = pairs = 0.0
    anchors = student.batch.unique().tolist()
    for a in anchors:
        s, t = (squash(side.logits[student.batch == a]) for side in (student, teacher))
        p_s, p_t = (s / tau).softmax(0), (t / tau).softmax(0)
        distribution += float((p_t * (p_t / p_s).log()).sum())
        for k in range(len(s)):
            for other in range(k + 1, len(s)):
                pairs += 1
                gap = float(t[k] - t[other])
                sign = (gap > margin) - (gap < -margin)
                if sign:
                    ranking += max(0.0, margin - sign * float(s[k] - s[other]))
    return distribution / len(anchors), ranking / pairs


@pytest.mark.parametrize(("scores", "squash"), [("probability", torch.sigmoid), ("logit", lambda z: z)])
def test_both_terms_are_the_formulas(scores, squash):
    student, teacher = candidates()
    losses = LLP(tau=0.7, margin=0.15, scores=scores, distribution_weight=2.0, ranking_weight=3.0)(student, teacher)
    distribution, ranking = naive(student, teacher, 0.7, 0.15, squash)
    assert float(losses["distribution"]) == pytest.approx(2 * distribution, rel=1e-10)
    assert float(losses["ranking"]) == pytest.approx(3 * ranking, rel=1e-10)


def test_equal_sides_give_zero_and_only_the_student_learns():
    student, teacher = candidates()
    assert all(float(value) == pytest.approx(0, abs=1e-15) for value in LLP()(student, student).values())
    for side in (student, teacher):
        side.logits.requires_grad_()
    sum(LLP()(student, teacher).values()).backward()
    assert student.logits.grad.abs().sum() > 0
    assert teacher.logits.grad is None


def test_gradients_are_exact():
    student, teacher = candidates(2, 4)

    def loss(logits):
        return sum(LLP(tau=0.5)(Structure(logits=logits, batch=student.batch), teacher).values())

    assert torch.autograd.gradcheck(loss, student.logits.requires_grad_())


def test_candidates_may_come_in_any_order_and_shape():
    student, teacher = candidates()
    before = LLP()(student, teacher)
    order = torch.randperm(24)
    names = torch.tensor([7, 0, 3, 12])  # anchors need not be numbered in a row
    moved = (
        Structure(logits=student.logits[order, None], batch=names[student.batch][order]),
        Structure(logits=teacher.logits[order]),
    )
    after = LLP()(*moved)
    assert all(float(after[name]) == pytest.approx(float(before[name]), abs=1e-12) for name in before)


def test_masked_candidates_are_left_out():
    student, teacher = candidates()
    student.mask = student.batch < 3
    student.logits.requires_grad_()
    losses = LLP()(student, teacher)
    sum(losses.values()).backward()
    assert (student.logits.grad[18:] == 0).all()
    cut = [Structure(logits=side.logits[:18].detach(), batch=student.batch[:18]) for side in (student, teacher)]
    assert losses["ranking"].item() == pytest.approx(LLP()(*cut)["ranking"].item(), rel=1e-12)


@pytest.mark.parametrize(("anchors", "length"), [(0, 0), (1, 1), (3, 1)])
def test_nothing_to_compare(anchors, length):
    student, teacher = candidates(anchors, length)
    student.logits.requires_grad_()
    losses = LLP()(student, teacher)
    sum(losses.values()).backward()
    assert all(value.item() == 0 for value in losses.values())


def test_uneven_contexts_are_refused():
    with pytest.raises(DataError, match="1 to 2 candidates"):
        by_anchor(torch.tensor([0, 0, 1]), torch.zeros(3))
    with pytest.raises(DataError, match="one each"):
        by_anchor(torch.tensor([0, 0]), torch.zeros(2, 2))
    with pytest.raises(WiringError, match="batch"):
        LLP()(Structure(logits=torch.zeros(2)), Structure(logits=torch.zeros(2)))
    for wrong in ({"scores": "odds"}, {"margin": -1.0}, {"tau": 0.0}):
        with pytest.raises(ConfigError, match="LLP"):
            LLP(**wrong)


def ring(nodes):
    here = torch.arange(nodes)
    return CSR.from_edges(
        torch.cat([torch.stack([here, (here + 1) % nodes]), torch.stack([(here + 1) % nodes, here])], 1), nodes
    )


def test_contexts_are_near_nodes_and_random_ones():
    csr, seeds = ring(101), torch.tensor([5, 50, 5])
    pairs, anchor = sample_context(csr, seeds, hops=2, rw_step=3, ns_rate=4)
    assert pairs.shape == (2, 3 * 30) and anchor.tolist() == [a for a in range(3) for _ in range(30)]
    assert torch.equal(pairs[0], seeds[anchor])
    near = pairs[1].view(3, 30)[:, :6].view(3, 3, 2)
    distance = (near - seeds.view(3, 1, 1)).abs()
    assert bool((distance[..., 0] == 1).all()) and bool(torch.isin(distance[..., 1], torch.tensor([0, 2])).all())


def test_one_long_walk_instead():
    pairs, _ = sample_context(ring(101), torch.tensor([50]), hops=4, rw_step=5, ns_rate=0, method="rw")
    walk = [50, *pairs[1].tolist()]
    assert len(walk) == 21 and all(abs(a - b) == 1 for a, b in itertools.pairwise(walk))
    with pytest.raises(ConfigError, match="method"):
        sample_context(ring(5), torch.tensor([0]), method="walk")


def test_random_candidates_are_uniform_and_seeded(generator):
    csr, seeds = ring(10), torch.arange(10).repeat(40)
    pairs, _ = sample_context(csr, seeds, hops=1, rw_step=1, ns_rate=20, generator=generator)
    share = torch.bincount(pairs[1].view(400, 21)[:, 1:].flatten(), minlength=10) / 8000
    deviation = math.sqrt(0.1 * 0.9 / 8000)
    assert share.tolist() == pytest.approx([0.1] * 10, abs=4.5 * deviation)
    again = sample_context(csr, seeds, hops=1, rw_step=1, ns_rate=20, generator=torch.Generator().manual_seed(0))[0]
    assert torch.equal(pairs, again)
    assert sample_context(csr, seeds[:0])[0].shape == (2, 0)


def test_a_predictor_reaches_the_distiller_through_an_adapter():
    from torch_geometric.data import Data

    from structkd.adapters import GraphAdapter
    from structkd.models.graphs.link_predictor import LinkModel
    from structkd.models.graphs.mlp import MLP

    csr = ring(12)
    pairs, anchor = sample_context(csr, torch.arange(4))
    batch = Data(x=torch.randn(12, 5), pairs=pairs, batch=anchor)
    adapter = GraphAdapter(inputs=("x", "pairs"))
    student, teacher = (LinkModel(MLP(5, 8, 6)) for _ in range(2))
    losses = LLP()(adapter(student, batch), adapter(teacher, batch))
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())
