"""Programs that are compiled and exported with ops in them."""

import pytest
import torch
from torch import nn

from structkd.backends import OPS, use_backend
from structkd.ops import csr, csr_of, edge_difference_kl, knn, segment_softmax, spmm
from structkd.ops.csr import CSR


class Net(nn.Module):
    """A layer of a graph network, with everything made from the edge list."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(5, 4)

    def forward(self, x, edge_index):
        rows = csr_of(edge_index, x.size(0))
        weight = segment_softmax(x[edge_index[0], 0], edge_index[1], x.size(0))
        return self.lin(spmm(rows, x, weight)).relu()


@pytest.fixture
def graph():
    return torch.randn(9, 5), torch.randint(9, (2, 30))


def gradients(program, net, x, edge_index):
    x = x.clone().requires_grad_()
    out = program(x, edge_index)
    return out.detach(), *torch.autograd.grad(out.square().sum(), [x, *net.parameters()])


def test_compiled_in_one_piece(graph):
    net = Net()
    torch._dynamo.reset()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    for ours, theirs in zip(gradients(compiled, net, *graph), gradients(net, net, *graph), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_compiled_step_sorts_edges_once(graph, monkeypatch):
    net = Net()
    torch._dynamo.reset()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    sorts = []
    order = csr._stable_order
    monkeypatch.setattr(csr, "_stable_order", lambda *given: sorts.append(1) or order(*given))
    for _ in range(3):
        gradients(compiled, net, *graph)
    assert len(sorts) == 2  # by target, and by source for the gradient


def test_exported_and_loaded(graph, tmp_path):
    net = Net().eval()
    program = torch.export.export(net, graph)
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {"structkd.csr.default", "structkd.spmm.default", "structkd.segment_softmax.default"} <= names
    torch.export.save(program, tmp_path / "net.pt2")
    loaded = torch.export.load(tmp_path / "net.pt2").module()
    assert torch.allclose(loaded(*graph), net(*graph), atol=1e-6)


def test_backend_is_chosen_when_the_program_runs(graph):
    x, edge_index = graph
    rows = CSR.from_edges(edge_index, 9)
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: spmm(rows, x), backend="aot_eager", fullgraph=True)
    plain, ran = compiled(x), []
    gather = OPS["spmm"].find("gather")
    object.__setattr__(gather, "run", lambda *given, run=gather.run: ran.append(1) or run(*given))
    try:
        with use_backend("spmm", "gather"):
            assert torch.allclose(compiled(x), plain, atol=1e-6)
    finally:
        object.__setattr__(gather, "run", gather.run.__kwdefaults__["run"])
    assert ran == [1]


def test_results_of_unknown_length():
    x = torch.randn(12, 3)
    program = torch.export.export(Neighbors(), (x,))
    index, distance = program.module()(x)
    expected = knn(x, 4)
    assert torch.equal(index, expected[0]) and torch.equal(distance, expected[1])


class Neighbors(nn.Module):
    def forward(self, x):
        return knn(x, 4)


def test_a_loss_learns_in_a_compiled_step(graph):
    z_s, edge_index = graph
    z_t = torch.randn_like(z_s)
    torch._dynamo.reset()
    compiled = torch.compile(lambda z: edge_difference_kl(z, z_t, edge_index, 1.3), backend="aot_eager")
    found = []
    for loss in (compiled, lambda z: edge_difference_kl(z, z_t, edge_index, 1.3)):
        z = z_s.clone().requires_grad_()
        found.append(torch.autograd.grad(3 * loss(z), z)[0])
    assert torch.allclose(*found, atol=1e-7) and found[0].abs().sum() > 0
