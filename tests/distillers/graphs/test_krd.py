import math

import pytest
import torch
import torch.distributed as dist

from structkd.distillers.graphs.krd import KRD, fit_power, instability
from structkd.errors import ConfigError, WiringError
from structkd.structure import Structure


def graph(nodes=12, edges=40, classes=4, seed=0, **teacher):
    torch.manual_seed(seed)
    edge_index = torch.randint(nodes, (2, edges))
    student = Structure(logits=torch.randn(nodes, classes, dtype=torch.float64), edge_index=edge_index)
    fields = {"importance": torch.rand(nodes, dtype=torch.float64), **teacher}
    return student, Structure(logits=torch.randn(nodes, classes, dtype=torch.float64), edge_index=edge_index, **fields)


def kl(target, prediction):
    return float((target * (target.log() - prediction.log())).sum())


def naive(student, teacher, edges, tau):
    """Mean KL over the given edges and every node's own label, one term at a time."""
    p_s, p_t = ((side.logits / tau).softmax(-1) for side in (student, teacher))
    pairs = [(int(j), int(i)) for j, i in edges.t() if j != i] + [(i, i) for i in range(len(p_s))]
    return sum(kl(p_t[j], p_s[i]) for j, i in pairs) / len(pairs)


def trained_to(distiller, epoch):
    distiller.epoch.fill_(epoch)
    return distiller


def test_before_sampling_every_edge_counts():
    student, teacher = graph()
    loss = KRD(tau=1.3)(student, teacher)["neighbor_label"]
    assert float(loss) == pytest.approx(naive(student, teacher, student.edge_index, 1.3), abs=1e-12)


def test_certain_nodes_are_all_kept_and_unreliable_ones_never():
    student, teacher = graph()
    teacher.importance = (torch.arange(12) < 6).double()
    loss = trained_to(KRD(tau=0.8, start_epoch=5), 5)(student, teacher)["neighbor_label"]
    kept = student.edge_index[:, student.edge_index[0] < 6]
    assert float(loss) == pytest.approx(naive(student, teacher, kept, 0.8), abs=1e-12)


def test_edges_are_drawn_by_reliability():
    # One source, whose edges are drawn alike: the loss reveals how many of them were.
    nodes = 4001
    edge_index = torch.stack([torch.zeros(nodes - 1, dtype=torch.long), torch.arange(1, nodes)])
    logits = torch.zeros(nodes, 2, dtype=torch.float64)
    teacher_logits = logits.clone()
    teacher_logits[0, 0] = 3.0
    student = Structure(
        logits=teacher_logits.clone().index_fill_(0, torch.arange(1, nodes), 0.0), edge_index=edge_index
    )
    teacher = Structure(logits=teacher_logits, importance=torch.full((nodes,), 0.3, dtype=torch.float64))
    distiller = trained_to(KRD(start_epoch=0), 1).eval()
    distiller.power.fill_(2.0)
    torch.manual_seed(0)
    one = kl(teacher_logits[0].softmax(-1), logits[0].softmax(-1))
    share = float(distiller(student, teacher)["neighbor_label"]) / one  # K / (K + nodes)
    drawn = share * nodes / (1 - share) / (nodes - 1)
    chance = 1 - 0.7**2
    assert drawn == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / (nodes - 1)))


def test_equal_constant_sides_give_zero_and_gradient_is_the_students():
    student, teacher = graph()
    flat = Structure(logits=torch.zeros(12, 4, dtype=torch.float64), edge_index=student.edge_index)
    assert float(KRD()(flat, flat)["neighbor_label"]) == pytest.approx(0, abs=1e-15)
    student.logits.requires_grad_()
    teacher.logits.requires_grad_()
    KRD()(student, teacher)["neighbor_label"].backward()
    assert student.logits.grad.abs().sum() > 0
    assert teacher.logits.grad is None


def test_gradient_is_exact():
    student, teacher = graph(nodes=5, edges=8)

    def loss(logits):
        return KRD(tau=0.9)(Structure(logits=logits, edge_index=student.edge_index), teacher)["neighbor_label"]

    assert torch.autograd.gradcheck(loss, student.logits.requires_grad_())


def test_node_order_does_not_matter():
    student, teacher = graph()
    order = torch.randperm(12)
    place = order.argsort()
    moved = [Structure(logits=side.logits[order], edge_index=place[student.edge_index]) for side in (student, teacher)]
    assert torch.allclose(*(KRD()(*sides)["neighbor_label"] for sides in ((student, teacher), moved)), atol=1e-12)


def test_mini_batches_add_up_to_the_whole():
    student, teacher = graph(nodes=12, edges=60)
    teacher = KRD().prepare(teacher)
    whole = float(KRD()(student, teacher)["neighbor_label"])
    edges = student.edge_index[:, student.edge_index[0] != student.edge_index[1]]
    weights, parts = [], []
    for seeds in torch.arange(12).split(4):
        seed = torch.isin(torch.arange(12), seeds)
        local = edges[:, seed[edges[1]]]
        scale = torch.full((local.size(1),), 3 / edges.size(1), dtype=torch.float64)
        batch = Structure(logits=student.logits, edge_index=local, edge_scale=scale, mask=seed)
        cut = Structure(logits=teacher.logits, importance=teacher.importance, edges_per_node=teacher.edges_per_node)
        parts.append(float(KRD()(batch, cut)["neighbor_label"]))
        weights.append(local.size(1) + 4)  # a batch's mean is over its own edges and rows
    assert sum(w * p for w, p in zip(weights, parts)) / sum(weights) == pytest.approx(whole, abs=1e-12)


def test_fewer_neighbours_drawn_keep_the_proportion_of_edges_to_nodes():
    student, teacher = graph(nodes=3, edges=1)
    student.edge_index = torch.tensor([[1], [0]])
    student.edge_scale = torch.tensor([1.0], dtype=torch.float64)  # stands for all of the graph's edges
    teacher.edges_per_node = torch.tensor(4.0)
    p_s, p_t = student.logits.softmax(-1), teacher.logits.softmax(-1)
    own = sum(kl(p_t[i], p_s[i]) for i in range(3))
    expected = (12 * kl(p_t[1], p_s[0]) + own) / (12 + 3)
    assert float(KRD()(student, teacher)["neighbor_label"]) == pytest.approx(expected, abs=1e-12)


def test_only_masked_rows_are_distilled():
    student, teacher = graph()
    student.mask = torch.arange(12) < 5
    student.logits.requires_grad_()
    KRD()(student, teacher)["neighbor_label"].backward()
    assert (student.logits.grad[5:] == 0).all()
    assert (student.logits.grad[:5].abs().sum(1) > 0).all()


def test_a_neighbour_outside_the_mask_still_teaches():
    student, teacher = graph(nodes=3, edges=1)
    student.edge_index = torch.tensor([[2, 0], [0, 2]])
    student.mask = torch.tensor([True, False, False])
    p_s, p_t = student.logits.softmax(-1), teacher.logits.softmax(-1)
    expected = (kl(p_t[0], p_s[0]) + kl(p_t[2], p_s[0])) / 2
    assert float(KRD()(student, teacher)["neighbor_label"]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("nodes", [0, 1])
def test_nothing_to_compare(nodes):
    logits = torch.randn(nodes, 3, dtype=torch.float64, requires_grad=True)
    empty = Structure(logits=logits, edge_index=torch.zeros(2, 0, dtype=torch.long))
    teacher = KRD().prepare(
        Structure(logits=logits.detach(), importance=torch.ones(nodes), edge_index=empty.edge_index)
    )
    loss = trained_to(KRD(start_epoch=0), 1)(empty, teacher)["neighbor_label"]
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-12)


class Linear:
    """A teacher that is run again on other features."""

    def __init__(self, weight):
        self.weight, self.seen = weight, []

    def __call__(self, x):
        self.seen.append(x)
        return Structure(logits=x @ self.weight)


def test_instability_is_the_root_mean_square_entropy_change():
    torch.manual_seed(3)
    x, model = torch.randn(9, 5, dtype=torch.float64), Linear(torch.randn(5, 4, dtype=torch.float64))
    teacher = Structure(logits=x @ model.weight, input=x, replay=model)
    rho = instability(teacher, draws=3, noise=0.5)

    def naive_entropy(z):
        return torch.tensor([-sum(float(p) * math.log(p) for p in row) for row in z.softmax(-1)], dtype=torch.float64)

    clean = naive_entropy(teacher.logits)
    changes = torch.stack([naive_entropy(seen @ model.weight) - clean for seen in model.seen])
    expected = changes.square().mean(0).sqrt()
    assert len(model.seen) == 3
    assert torch.allclose(rho, expected / expected.max(), atol=1e-10)
    assert float(rho.max()) == 1.0
    assert 0.3 < float((model.seen[0] - x).std()) < 0.7


def test_prepare_fills_importance_once_and_keeps_a_given_one():
    torch.manual_seed(0)
    x, model = torch.randn(6, 5), Linear(torch.randn(5, 3))
    teacher = Structure(logits=x @ model.weight, input=x.to_sparse_csr(), replay=model)
    first = KRD(draws=2).prepare(teacher).importance
    assert first.shape == (6,) and float(first.min()) == 0 and float(first.max()) <= 1
    assert KRD().prepare(teacher).importance is first
    still = Structure(
        logits=torch.zeros(4, 2), input=torch.zeros(4, 5), replay=lambda x: Structure(logits=torch.zeros(4, 2))
    )
    assert (KRD().prepare(still).importance == 1).all()


@pytest.mark.parametrize("power", [0.02, 0.3, 1.0, 4.0, 60.0])
def test_the_fit_finds_the_best_power_there_is(power):
    x = (torch.arange(50, dtype=torch.float64) + 0.5) / 50
    total = torch.full((50,), 1000.0, dtype=torch.float64)
    agreed = (1 - x**power) * total + 5 * torch.randn(50, dtype=torch.float64)
    share = (agreed - agreed.min()) / (agreed.max() - agreed.min())
    scan = torch.logspace(-2, 2, 20001, dtype=torch.float64)
    error = (1 - x ** scan[:, None] - share).square().sum(1)
    assert float(fit_power(agreed, total)) == pytest.approx(float(scan[error.argmin()]), rel=1e-3)


def test_the_fit_agrees_with_scipys():
    optimize = pytest.importorskip("scipy.optimize")
    torch.manual_seed(0)
    total = torch.randint(1, 30, (50,)).double()
    agreed = torch.floor(total * (1 - torch.linspace(0, 0.9, 50, dtype=torch.float64) ** 1.7))
    for reference, shift in ((False, 0.01), (True, 0.05)):
        share = (agreed / (total + (1e-6 if reference else 0))).numpy()
        share = (share - share.min()) / (share.max() - share.min())
        x = torch.arange(50).double().numpy() / 50 + shift
        (expected,), _ = optimize.curve_fit(lambda x, a: 1 - x**a, x, share, p0=[1.0])
        assert float(fit_power(agreed, total, reference)) == pytest.approx(expected, rel=1e-4)


def test_empty_bins_say_nothing_except_in_the_published_fit():
    agreed, total = torch.zeros(50), torch.zeros(50)
    agreed[:4], total[:4] = torch.tensor([10.0, 9, 8, 7]), 10
    padded = fit_power(agreed, total)
    # the four filled bins, stretched to 1 .. 0, fall much faster than the curve through 46 zeros
    assert float(fit_power(agreed, total, reference=True)) < 0.2
    assert float(padded) != float(fit_power(agreed, total, reference=True))
    assert fit_power(torch.zeros(50), torch.zeros(50)) is None
    assert fit_power(total, total) is None


def test_power_follows_agreement_with_momentum_once_an_epoch():
    torch.manual_seed(0)
    nodes = 500
    rho = torch.rand(nodes, dtype=torch.float64)
    teacher_class = torch.randint(3, (nodes,))
    agrees = torch.rand(nodes, dtype=torch.float64) > rho**3
    student_class = torch.where(agrees, teacher_class, (teacher_class + 1) % 3)
    one_hot = torch.eye(3, dtype=torch.float64)
    edges = torch.zeros(2, 0, dtype=torch.long)
    student = Structure(logits=one_hot[student_class], edge_index=edges)
    teacher = Structure(logits=one_hot[teacher_class], importance=1 - rho)
    distiller = KRD(momentum=0.9, start_epoch=2)
    for epoch in (0, 1):
        distiller.set_progress(epoch, 10)
        distiller(student, teacher)
    assert float(distiller.power) == 1.0
    assert float(distiller.agreement[1].sum()) == nodes
    fitted = float(fit_power(*distiller.agreement))
    assert 1.5 < fitted < 6
    distiller.set_progress(2, 10)
    assert float(distiller.power) == pytest.approx(0.9 + 0.1 * fitted, rel=1e-12)
    assert float(distiller.agreement.sum()) == 0
    distiller.set_progress(2, 10)  # told again, as after a resume
    assert float(distiller.power) == pytest.approx(0.9 + 0.1 * fitted, rel=1e-12)
    again = KRD(momentum=0.9, start_epoch=2)
    again.load_state_dict(distiller.state_dict())
    assert float(again.power) == float(distiller.power) and int(again.epoch) == 2


def test_processes_share_their_counts(tmp_path):
    distiller = KRD(momentum=0.0, start_epoch=1)
    distiller.agreement[1] = 10
    distiller.agreement[0] = torch.linspace(10, 0, 50)
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        expected = float(fit_power(*distiller.agreement))
        distiller.set_progress(1, 10)
    finally:
        dist.destroy_process_group()
    assert float(distiller.power) == pytest.approx(expected)


def test_evaluation_leaves_the_counts_alone():
    student, teacher = graph()
    distiller = KRD().eval()
    distiller(student, teacher)
    assert float(distiller.agreement.sum()) == 0


def test_what_is_missing_is_named():
    student, teacher = graph()
    bare = Structure(logits=teacher.logits)
    with pytest.raises(WiringError, match="expose_input"):
        KRD().prepare(bare)
    with pytest.raises(WiringError, match="importance"):
        trained_to(KRD(start_epoch=1), 1)(student, bare)
    with pytest.raises(WiringError, match="edge_index"):
        KRD()(Structure(logits=student.logits), bare)
    for wrong in ({"momentum": 1.5}, {"draws": 0}, {"mode": "published"}, {"tau": 0.0}):
        with pytest.raises(ConfigError):
            KRD(**wrong)
