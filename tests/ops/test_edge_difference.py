import importlib

import pytest
import torch

from structkd.errors import DataError
from structkd.ops import edge_difference

module = importlib.import_module("structkd.ops.edge_difference")  # the package's attribute is the function


def terms(points=9, centers=6, channels=3, dtype=torch.float64):
    return torch.randn(points, channels, dtype=dtype), torch.randn(centers, channels, dtype=dtype)


INDEX = torch.tensor([[0, 1, 2], [3, 3, 3], [8, 0, 4], [5, 6, 7], [1, 1, 0], [2, 8, 6]])


def test_by_hand():
    student = torch.tensor([[1.0], [-3.0]]), torch.tensor([[1.0]])
    teacher = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.5]])
    index = torch.tensor([[0, 1]])  # student 2, 0; teacher 0.5, 2.5
    assert float(edge_difference(student, teacher, index)) == pytest.approx(1.5**2 + 2.5**2)
    assert float(edge_difference(student, teacher, index, torch.tensor([3.0]))) == pytest.approx(3 * 8.5)


@pytest.mark.parametrize("chunk", [1, 20, 1 << 17])  # a centre at a time, some, all
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("backend", ["blocked", "naive"])
def test_gradcheck(chunk, weighted, backend, monkeypatch):
    monkeypatch.setitem(module.CHUNK, "cpu", chunk)
    weight = torch.tensor([0.5, 0, 2, 1, 0, 3], dtype=torch.float64) if weighted else None
    leaves = [term.requires_grad_() for term in (*terms(), *terms())]

    def run(u_s, v_s, u_t, v_t):
        return edge_difference((u_s, v_s), (u_t, v_t), INDEX, weight, backend=backend)

    assert torch.autograd.gradcheck(run, leaves)


@pytest.mark.parametrize("chunk", [1, 20, 1 << 17])
def test_block_size_does_not_matter(chunk, monkeypatch):
    student, teacher = terms(), terms()
    expected = edge_difference(student, teacher, INDEX, backend="naive")
    monkeypatch.setitem(module.CHUNK, "cpu", chunk)
    torch.testing.assert_close(edge_difference(student, teacher, INDEX), expected)


def test_centers_of_no_weight_are_not_visited(monkeypatch):
    seen = []
    visit = module._visit
    monkeypatch.setattr(
        module, "_visit", lambda sides, index, *rest: seen.append(len(index)) or visit(sides, index, *rest)
    )
    weight = torch.tensor([0.0, 1, 0, 0, 2, 0])
    student, teacher = terms(), terms()
    value = edge_difference(student, teacher, INDEX, weight.double())
    assert seen == [2]
    torch.testing.assert_close(value, edge_difference(student, teacher, INDEX, weight.double(), backend="naive"))


def test_zero_at_equality_and_gradients_to_those_that_learn():
    student, teacher = terms(), terms()
    assert float(edge_difference(student, student, INDEX)) == 0
    student[0].requires_grad_()
    value = edge_difference(student, teacher, INDEX)
    value.backward()
    assert student[0].grad.any() and student[1].grad is None and teacher[0].grad is None
    with torch.no_grad():
        assert not edge_difference(student, teacher, INDEX).requires_grad


def test_empty():
    student, teacher = ((torch.randn(4, 3), torch.randn(0, 3)) for _ in range(2))
    student[0].requires_grad_()
    value = edge_difference(student, teacher, torch.empty(0, 2, dtype=torch.long))
    value.backward()
    assert float(value.detach()) == 0 and not student[0].grad.any()


@pytest.mark.parametrize("learning", ["both", "student"])
def test_nothing_of_the_size_of_all_edges_is_held(learning, monkeypatch):
    monkeypatch.setitem(module.CHUNK, "cpu", 2 * 3 * 3)
    shapes = []
    allocate = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda t, *s: shapes.append(s) or allocate(t, *s))
    edge_difference(terms(), terms(), INDEX)
    assert shapes == [(4, 2, 3, 3)]


def test_bad_input():
    student, teacher = terms(), terms()
    with pytest.raises(DataError, match="the same of both sides"):
        edge_difference(student, terms(channels=4), INDEX)
    with pytest.raises(DataError, match="neighbours of each centre"):
        edge_difference(student, teacher, INDEX[:4])
    with pytest.raises(DataError, match=r"weight has shape \(2,\)"):
        edge_difference(student, teacher, INDEX, torch.ones(2))
