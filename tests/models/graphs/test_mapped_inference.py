import pytest
import torch

from structkd.datasets import synthetic_graph
from structkd.errors import ConfigError, DataError
from structkd.models import GAT, GCN, MLP, GraphSAGE, mapped_inference
from structkd.ops import csr_of
from structkd.ops.mapped import MappedCSR

SHAPE = dict(in_channels=6, hidden_channels=9, out_channels=4, num_layers=3, dropout=0.5, norm="batch")
MODELS = {
    "gcn": lambda: GCN(**SHAPE),
    "sage": lambda: GraphSAGE(**SHAPE, aggregator="gcn"),
    "sage mean": lambda: GraphSAGE(**SHAPE, aggregator="mean"),
    "one layer": lambda: GraphSAGE(6, 9, 4, num_layers=1),
}


@pytest.fixture
def graph():
    data = synthetic_graph(num_nodes=70, num_edges=150, num_features=6, num_classes=4)
    keep = (data.edge_index != 5).all(0)  # a node without edges
    return data.x, data.edge_index[:, keep]


@pytest.fixture
def mapped(graph):
    csr = csr_of(graph[1], 70)
    return MappedCSR(csr.rowptr, csr.col.int())


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("sources", [None, 20])
def test_equals_the_whole_forward_pass(graph, mapped, kind, sources):
    model = MODELS[kind]()
    model(*graph)  # moves the statistics of batch normalisation
    out = mapped_inference(model, graph[0], mapped, edges=40, sources=sources)
    assert model.training
    torch.testing.assert_close(out, model.eval()(*graph).detach())


def test_graph_free_model_and_half_features(graph, mapped):
    student, teacher = MLP(**SHAPE).eval(), GraphSAGE(**SHAPE, aggregator="mean").eval()
    half = graph[0].half()
    torch.testing.assert_close(mapped_inference(student, half), student(half.float()).detach())
    torch.testing.assert_close(mapped_inference(teacher, half, mapped), teacher(half.float(), graph[1]).detach())


def test_every_matrix_comes_from_the_allocator(graph, mapped):
    given = []

    def allocate(*shape):
        given.append(torch.full(shape, torch.nan))
        return given[-1]

    out = mapped_inference(GraphSAGE(**SHAPE), graph[0], mapped, allocate)
    assert out is given[-1]
    assert [tuple(matrix.shape) for matrix in given] == [(70, 9), (70, 9), (70, 4), (70, 4)]


def test_refusals(graph, mapped):
    with pytest.raises(ConfigError, match="GAT"):
        mapped_inference(GAT(6, 8, 4), graph[0], mapped)
    with pytest.raises(DataError, match="no nodes"):
        mapped_inference(MLP(6, 8, 4), graph[0][:0])
