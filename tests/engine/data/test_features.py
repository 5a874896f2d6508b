import pytest
import torch

from structkd.engine.data.features import read_graph, row_normalize
from structkd.errors import ConfigError

X = torch.tensor([[1.0, 3.0, 0.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [2.0, 2.0, 4.0]])
NORMAL = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])


def test_row_normalize_leaves_empty_rows_and_the_layout_alone():
    assert torch.equal(row_normalize(X), NORMAL)
    sparse = row_normalize(X.to_sparse_csr())
    assert sparse.layout == torch.sparse_csr
    assert torch.equal(sparse.to_dense(), NORMAL)
    assert row_normalize(torch.zeros(0, 3)).shape == (0, 3)
    assert torch.equal(row_normalize(torch.zeros(2, 3).to_sparse_csr()).to_dense(), torch.zeros(2, 3))


def test_rows_that_sum_to_zero_stay_as_they_are():
    x = torch.tensor([[1.0, -1.0]])
    assert torch.equal(row_normalize(x), x)
    assert torch.equal(row_normalize(x.to_sparse_csr()).to_dense(), x)


def test_read_graph_transforms_what_it_reads():
    dataset = dict(type="synthetic_graph", num_nodes=20, num_edges=30, num_features=4, num_classes=2)
    plain, normal = read_graph(dataset), read_graph(dataset, ["row_normalize"])
    assert torch.equal(normal.x, row_normalize(plain.x))
    assert torch.equal(normal.edge_index, plain.edge_index)
    with pytest.raises(ConfigError, match=r"no transform 'row_normalise'\. Nearest: row_normalize"):
        read_graph(dataset, ["row_normalise"])
