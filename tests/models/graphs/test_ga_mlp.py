import pytest
import torch

from structkd.errors import ConfigError
from structkd.models import GAMLP, graph_augment

N = 30


@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("k", [0, 1, 3])
def test_is_the_power_of_the_normalised_adjacency(k, loops, features, multigraph):
    x, edge_index = features(4), multigraph()
    adjacency = torch.zeros(N, N, dtype=torch.float64)
    adjacency.index_put_((edge_index[1], edge_index[0]), torch.ones(edge_index.size(1)).double(), accumulate=True)
    if loops:
        adjacency.fill_diagonal_(1)
    scale = adjacency.sum(1).pow(-0.5)
    scale[scale.isinf()] = 0
    expected = torch.linalg.matrix_power(scale[:, None] * adjacency * scale, k) @ x
    torch.testing.assert_close(graph_augment(x, edge_index, k, self_loops=loops), expected)
    torch.testing.assert_close(graph_augment(x.to_sparse_csr(), edge_index, k, self_loops=loops), expected)


def test_a_batch_of_graphs_is_augmented_graph_by_graph(features, multigraph):
    x, edge_index = features(4), multigraph()
    both = graph_augment(torch.cat([x, 2 * x]), torch.cat([edge_index, edge_index + N], 1), 2)
    one = graph_augment(x, edge_index, 2)
    torch.testing.assert_close(both, torch.cat([one, 2 * one]))


def test_model_augments_by_its_hops(features, multigraph):
    model = GAMLP(4, 8, 3, hops=2, width=2).double()
    x, edge_index = features(4), multigraph()
    augmented = model.augment(x, edge_index)
    torch.testing.assert_close(augmented, graph_augment(x, edge_index, 2))
    assert model(augmented).shape == (N, 3) and model.lins[0].out_features == 16


def test_negative_hops(features, multigraph):
    with pytest.raises(ConfigError, match="k=-1"):
        graph_augment(features(4), multigraph(), -1)
