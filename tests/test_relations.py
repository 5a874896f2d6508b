import pytest
import torch

from structkd import Structure
from structkd.errors import ConfigError, DataError, WiringError
from structkd.relations import KNN, Chain, Given, Grid, Radius, Routing


def edges(structure):
    return sorted((int(s), int(t)) for s, t in structure.edge_index.t())


def test_given_keeps_the_edges():
    structure = Structure(torch.randn(3, 2), torch.tensor([[0, 1], [1, 2]]), edge_weight=torch.ones(2))
    assert edges(Given()(structure)) == [(0, 1), (1, 2)] and Given()(structure).edge_weight.shape == (2,)
    with pytest.raises(WiringError, match="Given reads edge_index"):
        Given()(Structure(torch.randn(3, 2)))


def test_knn_runs_from_neighbour_to_element():
    structure = Structure(torch.tensor([[0.0], [1.0], [3.0]]))
    assert edges(KNN(1)(structure)) == [(0, 1), (1, 0), (1, 2)]
    assert "edge_index" not in structure  # a copy was filled in
    placed = Structure(torch.randn(3, 4), pos=torch.tensor([[0.0], [5.0], [4.0]]))
    assert edges(KNN(1, space="pos")(placed)) == [(1, 2), (2, 0), (2, 1)]
    angles = Structure(torch.tensor([[1.0, 0], [9, 1], [0, 1]]))
    assert (1, 0) in edges(KNN(1, metric="cosine")(angles))
    with pytest.raises(WiringError, match="KNN reads pos"):
        KNN(1, space="pos")(structure)


def test_samples_stay_apart():
    structure = Structure(torch.zeros(4, 1), pos=torch.zeros(4, 2), batch=torch.tensor([0, 0, 1, 1]))
    apart = [(0, 1), (1, 0), (2, 3), (3, 2)]
    assert edges(KNN(3)(structure)) == apart
    assert edges(Radius(1.0)(structure)) == apart
    assert edges(Chain()(structure)) == [(0, 1), (2, 3)]


def test_radius_includes_its_border_and_keeps_the_nearest():
    structure = Structure(pos=torch.tensor([[0.0], [1.0], [2.0], [9.0]]))
    assert edges(Radius(1.0)(structure)) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    assert edges(Radius(2.0, max_neighbors=1)(structure)) == [(0, 1), (1, 0), (1, 2)]


def test_grid():
    # A 2 x 2 block and a cell two columns further; the second sample holds one cell right below the first's block.
    pos = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [1, 3], [2, 0]])
    structure = Structure(pos=pos, batch=torch.tensor([0, 0, 0, 0, 0, 1]))
    sides = [(0, 1), (0, 2), (1, 0), (1, 3), (2, 0), (2, 3), (3, 1), (3, 2)]
    corners = [(0, 3), (1, 2), (2, 1), (3, 0)]
    assert edges(Grid()(structure)) == sides
    assert edges(Grid(8)(structure)) == sorted(sides + corners)


def test_grid_against_pairs_of_cells():
    cells = torch.stack(torch.meshgrid(torch.arange(-3, 4), torch.arange(5), indexing="ij"), -1).view(-1, 2)
    pos = cells[torch.randperm(35)[:22]]
    step = (pos.unsqueeze(0) - pos.unsqueeze(1)).abs()
    for connectivity, near in ((4, step.sum(-1) == 1), (8, step.amax(-1) == 1)):
        assert edges(Grid(connectivity)(Structure(pos=pos))) == [tuple(e) for e in near.nonzero().tolist()]


def test_grid_bad_input():
    with pytest.raises(DataError, match="same pos"):
        Grid()(Structure(pos=torch.zeros(2, 2)))
    with pytest.raises(DataError, match=r"\[N, 2\]"):
        Grid()(Structure(pos=torch.zeros(2, 3)))
    with pytest.raises(ConfigError, match="connectivity=6"):
        Grid(6)(Structure(pos=torch.zeros(1, 2)))


def test_routing_goes_to_the_largest_gates():
    gates = torch.tensor([[0.1, 0.6, 0.3], [0.8, 0.0, 0.2]], requires_grad=True)
    routed = Routing(2)(Structure(torch.randn(2, 4), gates=gates, x_dst=torch.randn(3, 4)))
    assert routed.edge_index.tolist() == [[0, 0, 1, 1], [1, 2, 0, 2]]
    assert routed.edge_weight.tolist() == pytest.approx([0.6, 0.3, 0.8, 0.2])
    routed.check()
    routed.edge_weight.sum().backward()
    assert gates.grad.tolist() == [[0, 1, 1], [1, 0, 1]]
    with pytest.raises(ConfigError, match="1 to 3"):
        Routing(4)(Structure(gates=gates))


def test_chain():
    assert edges(Chain()(Structure(torch.randn(4, 2)))) == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("relation", [KNN(3), KNN(2, "pos"), Radius(1.0), Grid(), Chain()], ids=repr)
def test_empty_and_single_structures_get_no_edges(relation, size):
    structure = Structure(torch.randn(size, 3), pos=torch.zeros(size, 2))
    assert relation(structure).edge_index.shape == (2, 0)
    structure.batch = torch.zeros(size, dtype=torch.long)
    assert relation(structure).edge_index.shape == (2, 0)


def test_weights_of_former_edges_go():
    structure = Structure(torch.randn(3, 2), torch.tensor([[0], [1]]), edge_weight=torch.ones(1))
    assert "edge_weight" not in KNN(1)(structure) and "edge_weight" in structure
