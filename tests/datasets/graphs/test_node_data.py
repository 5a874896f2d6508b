import pytest
import torch
from torch_geometric.data import Data

from structkd.datasets import NodeData, Split
from structkd.errors import DataError


def test_transductive_sees_all_nodes_but_only_training_labels(transductive):
    graph, observed, split = transductive.graph, transductive.observed, transductive.split
    assert observed.x is graph.x and observed.edge_index is graph.edge_index
    assert torch.equal(observed.n_id, torch.arange(60))
    assert torch.equal(observed.y[split.train], graph.y[split.train])
    assert (observed.y >= 0).sum() == split.train.numel()
    assert torch.equal(observed.y, transductive.train_labels())


@pytest.mark.parametrize("sparse", [False, True])
def test_inductive_has_no_trace_of_held_out_nodes(inductive, sparse):
    graph, split = inductive.graph, inductive.split
    if sparse:
        graph = Data(x=graph.x.to_sparse_csr(), edge_index=graph.edge_index, y=graph.y)
    observed = NodeData(graph, split).observed
    assert not bool(torch.isin(observed.n_id, split.ind).any())
    assert observed.n_id.numel() == 48
    assert torch.equal(observed.x.to_dense(), inductive.graph.x[observed.n_id])
    expected = {
        (u, v) for u, v in graph.edge_index.t().tolist() if not torch.isin(torch.tensor([u, v]), split.ind).any()
    }
    assert {tuple(pair) for pair in observed.n_id[observed.edge_index].t().tolist()} == expected
    assert observed.edge_index.size(1) == len(expected)
    assert torch.equal(observed.y, inductive.train_labels()[observed.n_id])
    assert inductive.observed is inductive.observed  # one object: operators remember what they derived from it


def test_multi_label_targets(graph):
    y = torch.randint(2, (60, 4)).float()
    ids = torch.arange(60)
    nodes = NodeData(Data(x=graph.x, edge_index=graph.edge_index, y=y), Split(ids[:10], ids[10:20], ids[20:]))
    assert torch.equal(nodes.observed.y[:10], y[:10])
    assert bool((nodes.observed.y[10:] == -1).all())


def test_bad_parts_are_named(graph, one_paragraph):
    ids = torch.arange(60)
    with pytest.raises(DataError) as error:
        NodeData(graph, Split(ids[:10], ids[:0], ids[20:]))
    one_paragraph(error, "empty val")
    with pytest.raises(DataError, match="0 to 60"):
        NodeData(graph, Split(ids[:10], ids[10:20], ids[20:] + 1))
    graph.x[5, 0] = float("nan")
    with pytest.raises(DataError, match="row 5"):
        NodeData(graph, Split(ids[:10], ids[10:20], ids[20:]))


def test_repr_is_short(inductive):
    assert repr(inductive) == "NodeData(nodes=60, edges=300, {'train': 12, 'val': 12, 'test': 24, 'ind': 12})"
