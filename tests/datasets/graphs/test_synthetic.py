import pytest
import torch

from structkd.datasets import synthetic_graph
from structkd.datasets.graphs import synthetic
from structkd.errors import ConfigError

SMALL = dict(num_nodes=400, num_edges=1500, num_features=5, num_classes=4)


@pytest.mark.parametrize("exponent", [None, 2.5])
def test_exact_sizes_and_simple_edges(exponent, edge_set):
    data = synthetic_graph(**SMALL, exponent=exponent)
    assert data.x.shape == (400, 5)
    assert data.y.unique().tolist() == [0, 1, 2, 3]
    assert len(edge_set(data.edge_index)) == 3000
    assert bool(torch.isfinite(data.x).all())


def test_a_function_of_its_seed(monkeypatch):
    one, same, other = synthetic_graph(**SMALL, seed=1), synthetic_graph(**SMALL, seed=1), synthetic_graph(**SMALL)
    for field in ("x", "edge_index", "y"):
        assert torch.equal(one[field], same[field])
        assert not torch.equal(one[field], other[field])


def share_within(data):
    return float((data.y[data.edge_index[0]] == data.y[data.edge_index[1]]).double().mean())


def test_homophily_and_degrees_follow_the_model():
    shares = [share_within(synthetic_graph(**SMALL, homophily=h, exponent=None)) for h in (0.0, 0.6, 1.0)]
    assert shares[0] == pytest.approx(0.25, abs=0.05)
    assert shares[1] == pytest.approx(0.6 + 0.4 * 0.25, abs=0.05)
    assert shares[2] == 1.0
    heavy, light = (
        torch.bincount(synthetic_graph(num_nodes=3000, num_edges=9000, exponent=e).edge_index[1]).max()
        for e in (2.1, None)
    )
    assert heavy > 4 * light


def test_neighbours_tell_more_than_the_node():
    data = synthetic_graph(num_nodes=600, num_edges=6000, num_features=16, num_classes=3, homophily=0.9)
    centres = torch.stack([data.x[data.y == c].mean(0) for c in range(3)])
    around = torch.zeros_like(data.x).index_add_(0, data.edge_index[1], data.x[data.edge_index[0]])
    around /= torch.bincount(data.edge_index[1], minlength=600).clamp(min=1)[:, None]
    own, theirs = ((torch.cdist(x, centres).argmin(1) == data.y).double().mean() for x in (data.x, around))
    assert theirs > own + 0.1


def test_named_sizes(monkeypatch):
    monkeypatch.setitem(synthetic.SIZES, "arxiv", SMALL)
    assert torch.equal(synthetic_graph("arxiv", seed=5).x, synthetic_graph(**SMALL, seed=5).x)
    with pytest.raises(ConfigError, match="arxiv"):
        synthetic_graph("arxive")


@pytest.mark.parametrize(
    "options",
    [
        dict(homophily=1.5),
        dict(exponent=2.0),
        dict(num_classes=0),
        dict(num_edges=400 * 399 // 2),
        dict(num_nodes=40, num_classes=20, num_edges=100, homophily=1.0),  # 20 pairs in all
    ],
)
def test_impossible_graphs_are_refused(options):
    with pytest.raises(ConfigError, match="synthetic_graph"):
        synthetic_graph(**(SMALL | options))
