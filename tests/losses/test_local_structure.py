import pytest
import torch

from structkd.errors import ConfigError, DataError
from structkd.losses import edge_similarity, local_structure_kl

EDGES = torch.tensor([[0, 1, 2, 3, 0, 2, 1], [1, 0, 1, 1, 2, 3, 3]])


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def score(kernel, a, b, sigma):
    square = (a - b).square().sum()
    return {"rbf": (-square / (2 * sigma)).exp(), "gaussian": -square / (2 * sigma), "linear": a @ b}[kernel]


@pytest.mark.parametrize("kernel", ["rbf", "gaussian", "linear"])
def test_scores_against_loops(kernel):
    x = double(5, 3)
    expected = torch.stack([score(kernel, x[i], x[j], 2.0) for i, j in EDGES.t()])
    assert torch.allclose(edge_similarity(x, EDGES, kernel, 2.0), expected)
    assert torch.autograd.gradcheck(lambda x: edge_similarity(x, EDGES, kernel, 2.0), x)


@pytest.mark.parametrize("student_first", [False, True])
def test_divergence_against_loops(student_first):
    a, b = double(7), double(7)
    total = 0
    for node in EDGES[1].unique():
        p, q = (s[EDGES[1] == node].softmax(0) for s in (a, b))
        p, q = (p, q) if student_first else (q, p)
        total = total + (p * (p / q).log()).sum()
    loss = local_structure_kl(a, b, EDGES[1], 5, student_first)
    assert torch.allclose(loss, total / 4)  # node 4 has no edge
    assert torch.autograd.gradcheck(lambda a, b: local_structure_kl(a, b, EDGES[1], 5, student_first), (a, b))


def test_zero_at_equality_up_to_a_constant_a_node():
    a, shift, order = double(7), double(5), torch.randperm(7)
    assert local_structure_kl(a, a, EDGES[1], 5) == 0
    assert local_structure_kl(a + shift[EDGES[1]], a, EDGES[1], 5).abs() < 1e-14
    b = double(7)
    shuffled = local_structure_kl(a[order], b[order], EDGES[1][order], 5)
    assert torch.allclose(shuffled, local_structure_kl(a, b, EDGES[1], 5))


def test_a_single_edge_a_node_and_none():
    target = torch.tensor([0, 2])
    assert local_structure_kl(double(2), double(2), target, 3).abs() < 1e-15
    x = double(3, 2)
    none = EDGES[:, :0]
    for kernel in ("rbf", "linear"):
        value = local_structure_kl(edge_similarity(x, none, kernel), torch.zeros(0).double(), none[1], 3)
        value.backward()
        assert value == 0


def test_bad_input():
    x = double(5, 3)
    with pytest.raises(ConfigError, match="kernel is 'poly'"):
        edge_similarity(x, EDGES, "poly")
    with pytest.raises(ConfigError, match="sigma is 0"):
        edge_similarity(x, EDGES, sigma=0)
    with pytest.raises(DataError, match="scores"):
        local_structure_kl(double(7), double(6), EDGES[1], 5)
