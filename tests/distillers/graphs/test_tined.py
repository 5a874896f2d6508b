import math

import pytest
import torch

from structkd.distillers.graphs.tined import TINED, sample_edges
from structkd.errors import ConfigError, WiringError
from structkd.structure import Structure

PAIRS = [("in0", "out0"), ("in1", "out1")]


def sides(nodes=9, edges=30):
    edge_index = torch.randint(nodes, (2, edges))
    widths = {"in0": 5, "out0": 3, "in1": 4, "out1": 2}

    def side():
        taps = {name: torch.randn(nodes, width, dtype=torch.float64) for name, width in widths.items()}
        return Structure(logits=torch.randn(nodes, 3, dtype=torch.float64), edge_index=edge_index, **taps)

    return side(), side()


def naive_energy(x, edges):
    unit = [row / max(float(row.norm()), 1e-12) for row in x]
    return sum(float((unit[u] - unit[v]).square().sum()) for u, v in edges.t().tolist()) / len(x)


def naive_ratio(side, pair, edges):
    return math.log(naive_energy(side[pair[1]], edges)) - math.log(naive_energy(side[pair[0]], edges))


@pytest.mark.parametrize("domain", ["log", "ratio"])
@pytest.mark.parametrize("square_root", [False, True])
def test_the_energy_term_is_the_formula(domain, square_root):
    student, teacher = sides()
    distiller = TINED(PAIRS, domain, square_root, energy_weight=3.0)
    power = 0.5 if square_root else 1.0
    gaps = []
    for pair in PAIRS:
        r_s, r_t = (power * naive_ratio(side, pair, student.edge_index) for side in (student, teacher))
        gaps.append(r_s - r_t if domain == "log" else math.exp(r_s) - math.exp(r_t))
    expected = 3 * sum(gap**2 for gap in gaps)
    assert float(distiller(student, teacher)["energy_ratio"]) == pytest.approx(expected, rel=1e-10)


def test_the_gradient_is_the_losss_with_row_lengths_held_fixed():
    student, teacher = sides(nodes=4, edges=6)
    distiller = TINED(PAIRS[:1], soft_weight=0)
    x = student["out0"].requires_grad_()
    distiller(student, teacher)["energy_ratio"].backward()
    lengths = x.detach().norm(dim=1, keepdim=True)
    source, target = student.edge_index

    def by_hand(x):
        unit = x / lengths
        energy = (unit[source] - unit[target]).square().sum() / 4
        ratio = energy.log() - math.log(naive_energy(student["in0"], student.edge_index))
        return (ratio - naive_ratio(teacher, PAIRS[0], student.edge_index)) ** 2

    other = x.detach().clone().requires_grad_()
    by_hand(other).backward()
    assert torch.allclose(x.grad, other.grad, atol=1e-10)


def test_equal_sides_give_zero_and_only_the_student_learns():
    student, teacher = sides()
    assert all(float(value) == pytest.approx(0, abs=1e-15) for value in TINED(PAIRS)(student, student).values())
    leaves = [side[name].requires_grad_() for side in (student, teacher) for name in ("logits", "out0", "in1")]
    sum(TINED(PAIRS)(student, teacher).values()).backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves[:3])
    assert all(leaf.grad is None for leaf in leaves[3:])


def test_scale_of_the_features_and_order_of_the_nodes_do_not_matter():
    student, teacher = sides()
    value = float(TINED(PAIRS)(student, teacher)["energy_ratio"])
    order = torch.randperm(9)
    place = order.argsort()
    moved = []
    for side in (student, teacher):
        fields = {name: 7 * side[name][order] for name in ("in0", "out0", "in1", "out1")}
        moved.append(Structure(logits=side.logits[order], edge_index=place[side.edge_index], **fields))
    assert float(TINED(PAIRS)(*moved)["energy_ratio"]) == pytest.approx(value, rel=1e-10)


def test_a_collapsed_layer_has_a_finite_loss_and_gradient():
    student, teacher = sides()
    student["out0"] = torch.ones(9, 3, dtype=torch.float64, requires_grad=True)
    loss = TINED(PAIRS, soft_weight=0)(student, teacher)["energy_ratio"]
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student["out0"].grad).all()


@pytest.mark.parametrize("nodes", [0, 1])
def test_nothing_to_compare(nodes):
    taps = {name: torch.randn(nodes, 2, requires_grad=True) for name in ("in0", "out0", "in1", "out1")}
    both = Structure(logits=torch.randn(nodes, 2), edge_index=torch.zeros(2, 0, dtype=torch.long), **taps)
    for ratio in (1.0, 0.5):
        losses = TINED(PAIRS, edge_ratio=ratio)(both, both)
        sum(losses.values()).backward()
        assert all(value.item() == 0 for value in losses.values())


def test_a_share_of_the_edges_is_drawn_without_repeats():
    edges = torch.arange(2000).view(2, -1)
    drawn = sample_edges(edges, 0.1)
    assert drawn.shape == (2, 100)
    assert drawn[0].unique().numel() == 100 and bool((drawn[1] - drawn[0] == 1000).all())
    assert 350 < float(drawn[0].float().mean()) < 650
    assert sample_edges(edges, 1e-6).shape == (2, 1)
    assert sample_edges(edges[:, :0], 0.5).shape == (2, 0)


def test_both_sides_see_the_same_subset():
    student, _ = sides()
    assert float(TINED(PAIRS, edge_ratio=0.3)(student, student)["energy_ratio"]) == 0


def test_only_masked_rows_are_distilled():
    student, teacher = sides()
    student.mask = torch.arange(9) < 5
    leaves = [student[name].requires_grad_() for name in ("logits", "out0")]
    sum(TINED(PAIRS)(student, teacher).values()).backward()
    for leaf in leaves:
        assert (leaf.grad[5:] == 0).all() and leaf.grad[:5].abs().sum() > 0


def test_wiring_names_the_taps():
    student, teacher = sides()
    assert TINED(PAIRS).reads == {"logits", "in0", "out0", "in1", "out1"}
    assert TINED(PAIRS, energy_weight=0).reads == {"logits"}
    with pytest.raises(WiringError, match="out9"):
        TINED([("in0", "out9")])(student, teacher)


@pytest.mark.parametrize(
    "wrong",
    [{"pairs": []}, {"pairs": [("a", "b", "c")]}, {"domain": "exp"}, {"edge_ratio": 0.0}, {"energy_weight": -1.0}],
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ConfigError):
        TINED(**{"pairs": PAIRS, **wrong})
