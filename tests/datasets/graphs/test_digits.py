import pytest
import torch

from structkd.datasets import digits_graph, make_split
from structkd.errors import ConfigError

pytest.importorskip("sklearn")


def test_digits_are_the_symmetrised_nearest_neighbours(edge_set):
    data = digits_graph(k=8)
    assert data.x.shape == (1797, 64)
    assert (float(data.x.min()), float(data.x.max())) == (0.0, 1.0)
    assert data.y.unique().tolist() == list(range(10))
    edge_set(data.edge_index)
    # Distances tie, so the edges are told by the distance of each node's eighth neighbour, not by name.
    distance = torch.cdist(data.x.double(), data.x.double(), compute_mode="donot_use_mm_for_euclid_dist")
    reach = distance.fill_diagonal_(torch.inf).topk(8, largest=False).values[:, -1] + 1e-6
    source, target = data.edge_index
    length = distance[source, target]
    assert bool((length <= torch.maximum(reach[source], reach[target])).all())
    assert int(torch.bincount(target[length <= reach[target]], minlength=1797).min()) >= 8
    degree = torch.bincount(data.edge_index[1])
    assert int(degree.min()) >= 8
    assert data.edge_index.size(1) < 2 * 8 * 1797


def test_few_labels_a_class():
    split = make_split("planetoid_random", digits_graph(), 0, train_per_class=5, num_val=300, num_test=None)
    assert [ids.numel() for ids in vars(split).values()] == [50, 300, 1447, 0]


@pytest.mark.parametrize("k", [0, 1797])
def test_k_out_of_range(k):
    with pytest.raises(ConfigError, match=str(k)):
        digits_graph(k)
