from itertools import pairwise

import pytest
import torch
from torch_geometric.data import Data

from structkd.datasets import NodeData, Split, deepwalk, node_positions, synthetic_graph, with_positions
from structkd.datasets.graphs.positions import random_walks
from structkd.errors import ConfigError
from structkd.ops.csr import CSR

SMALL = dict(dim=8, walk_length=10, walks_per_node=3, window=3)


def test_walks_follow_edges_and_stay_where_there_are_none(generator):
    edges = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
    csr = CSR.from_edges(edges, 5)
    walks = random_walks(csr, torch.arange(5).repeat(400), 6, generator)
    assert walks.shape == (2000, 6)
    known = {tuple(pair) for pair in edges.t().tolist()}
    steps = {(u, v) for walk in walks.tolist() for u, v in pairwise(walk)}
    assert steps == known | {(4, 4)}
    second = walks[walks[:, 0] == 1, 1]
    assert 0.4 < float((second == 0).double().mean()) < 0.6
    alone = CSR.from_edges(torch.empty(2, 0, dtype=torch.long), 2)
    assert random_walks(alone, torch.tensor([1]), 3, generator).tolist() == [[1, 1, 1]]


def test_vectors_of_a_community_are_alike():
    data = synthetic_graph(num_nodes=90, num_edges=500, num_features=1, num_classes=3, homophily=0.95, exponent=None)
    vectors = torch.nn.functional.normalize(deepwalk(data.edge_index, 90, dim=16), dim=1)
    similar = vectors @ vectors.t()
    same = data.y[:, None] == data.y[None]
    assert float(similar[same].mean()) > float(similar[~same].mean()) + 0.3


def test_vectors_are_a_function_of_the_seed(graph):
    state = torch.get_rng_state()
    with torch.no_grad():
        one, same, other = (deepwalk(graph.edge_index, 60, seed=seed, **SMALL) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert one.shape == (60, 8) and not one.requires_grad
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert bool(torch.isfinite(one).all())


def test_nodes_without_neighbours_are_zero():
    vectors = deepwalk(torch.tensor([[0, 1], [1, 0]]), 3, **SMALL)
    assert bool((vectors[:2] != 0).all()) and bool((vectors[2] == 0).all())
    assert torch.equal(deepwalk(torch.empty(2, 0, dtype=torch.long), 2, **SMALL), torch.zeros(2, 8))


def test_a_held_out_node_is_the_mean_of_its_observed_neighbours():
    pairs = torch.tensor([[0, 1, 2, 3, 3, 3, 4, 5], [1, 2, 0, 0, 1, 4, 5, 0]])
    x, y = torch.ones(7, 2), torch.tensor([0, 1, 0, 1, 0, 1, 0])
    ids = torch.arange(7)
    nodes = NodeData(
        Data(x=x, edge_index=torch.cat([pairs, pairs.flip(0)], 1), y=y), Split(ids[:1], ids[1:2], ids[2:3], ids[3:])
    )
    found = node_positions(nodes, **SMALL)
    assert torch.equal(found[:3], deepwalk(nodes.observed.edge_index, 3, **SMALL))
    torch.testing.assert_close(found[3], (found[0] + found[1]) / 2)  # its edge to 4, held out too, does not count
    assert bool((found[4] == 0).all()) and bool((found[6] == 0).all())
    torch.testing.assert_close(found[5], found[0])


@pytest.mark.parametrize("sparse", [False, True])
def test_positions_join_the_features(inductive, sparse):
    if sparse:
        inductive.graph.x = inductive.graph.x.to_sparse_csr()
    joined = with_positions(inductive, **SMALL)
    assert joined.graph.x.shape == (60, 6 + 8)
    assert torch.equal(joined.graph.x[:, :6], inductive.graph.x.to_dense())
    assert torch.equal(joined.graph.x[:, 6:], node_positions(inductive, **SMALL))
    assert inductive.graph.x.size(1) == 6
    assert torch.equal(joined.observed.edge_index, inductive.observed.edge_index)


@pytest.mark.parametrize("option", ["dim", "walks_per_node", "window", "negatives", "walk_length"])
def test_bad_options(graph, option):
    with pytest.raises(ConfigError, match=option):
        deepwalk(graph.edge_index, 60, **{option: 0})
