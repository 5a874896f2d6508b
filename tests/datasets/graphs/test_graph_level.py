import pytest
import torch
from torch_geometric.data import Data

from structkd.datasets import GraphBatches, GraphSet, digit_graphs, make_split, tu_graphs
from structkd.datasets.graphs import graph_level
from structkd.errors import DataError


def graphs(count=10):
    return GraphSet(
        [
            Data(
                x=torch.full((2 + g % 3, 1), float(g)),
                edge_index=torch.tensor([[0, 1], [1, 0]]),
                y=torch.tensor([g % 2]),
            )
            for g in range(count)
        ]
    )


def test_a_set_numbers_graphs_and_nodes():
    whole = graphs()
    assert len(whole) == 10
    assert whole.y.tolist() == [0, 1] * 5
    batch = whole.batch(torch.tensor([4, 1]))
    assert batch.graph_id.tolist() == [4, 1]
    assert batch.y.tolist() == [0, 1]
    assert batch.batch.tolist() == [0, 0, 0, 1, 1, 1]
    assert batch.n_id.tolist() == [11, 12, 13, 2, 3, 4]  # graphs 0 to 3 have 2 + 3 + 4 + 2 nodes
    assert batch.edge_index.tolist() == [[0, 1, 3, 4], [1, 0, 4, 3]]


def test_single_node_and_empty_graphs():
    empty = torch.empty(2, 0, dtype=torch.long)
    tiny = GraphSet([Data(x=torch.ones(n, 2), edge_index=empty, y=torch.tensor([0])) for n in (1, 2)])
    assert tiny.batch(torch.tensor([1, 0])).x.shape == (3, 2)


def test_batches_hold_training_graphs_only():
    whole = graphs(30)
    split = make_split("random", whole, seed=2, train=0.5, val=0.2)
    loader, state = GraphBatches(whole, split, 4, seed=1), torch.get_rng_state()
    first, second = list(loader), list(loader)
    assert torch.equal(torch.get_rng_state(), state)
    met = torch.cat([batch.graph_id for batch in first])
    assert torch.equal(met.sort().values, split.train.sort().values)
    for batch in first:
        assert torch.equal(batch.y, whole.y[batch.graph_id])
        assert batch.label_scale == 1 / batch.num_graphs
    assert not torch.equal(torch.cat([batch.graph_id for batch in second]), met)
    resumed = GraphBatches(whole, split, 4, seed=1)
    resumed.set_epoch(1)
    assert all(torch.equal(a.graph_id, b.graph_id) for a, b in zip(resumed, second, strict=True))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(y=None), "Graph 1 has y = None"),
        (dict(y=torch.tensor([1, 2])), "Graph 1"),
        (dict(y=torch.tensor([-3])), "Graph 1"),
        (dict(edge_index=torch.tensor([[0], [9]])), "Graph 1.*0 to 9"),
        (dict(x=torch.full((2, 1), float("nan"))), "Graph 1.*NaN"),
    ],
)
def test_bad_graphs_are_named(changes, words):
    good = dict(x=torch.ones(2, 1), edge_index=torch.tensor([[0], [1]]), y=torch.tensor([0]))
    with pytest.raises(DataError, match=words):
        GraphSet([Data(**good), Data(**(good | changes))])
    with pytest.raises(DataError, match="at least one"):
        GraphSet([])


def test_digits_as_graphs_of_pixels(edge_set, monkeypatch):
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits

    digits = load_digits()
    whole = digit_graphs()
    assert len(whole) == 1797
    assert whole.y.tolist() == digits.target.tolist()
    few = graph_level.load_digits()[0][:50], graph_level.load_digits()[1][:50]
    monkeypatch.setattr(graph_level, "load_digits", lambda: few)
    all_cells = digit_graphs(threshold=None)
    assert whole.graphs[0].num_nodes == int((digits.images[0] > 0).sum())
    assert all_cells.graphs[0].num_nodes == 64
    assert all_cells.graphs[0].edge_index.size(1) == 2 * (2 * 7 * 8 + 2 * 7 * 7)
    for number in (0, 5):
        graph = whole.graphs[number]
        row, column = graph.pos.long().t()
        assert torch.equal(graph.x[:, 0], torch.tensor(digits.images[number] / 16).float()[row, column])
        assert torch.equal(graph.x[:, 1:], graph.pos / 7)
        near = (graph.pos[:, None] - graph.pos[None]).abs().amax(-1) == 1
        assert edge_set(graph.edge_index) == {tuple(pair) for pair in near.nonzero().tolist()}
    assert max(graph.num_nodes for graph in digit_graphs(threshold=0.9).graphs) < 40


def write_tu(root, labels=True):
    folder = root / "TOY" / "raw"
    folder.mkdir(parents=True)
    (folder / "TOY_A.txt").write_text("1, 2\n2, 1\n3, 4\n4, 3\n4, 5\n5, 4\n")
    (folder / "TOY_graph_indicator.txt").write_text("1\n1\n2\n2\n2\n")
    (folder / "TOY_graph_labels.txt").write_text("-1\n1\n")
    if labels:
        (folder / "TOY_node_labels.txt").write_text("0\n1\n2\n0\n1\n")
    return folder


def test_tu_sets(tmp_path, one_paragraph, edge_set):
    with pytest.raises(DataError) as error:
        tu_graphs(tmp_path, "TOY")
    one_paragraph(error, tmp_path / "TOY" / "raw" / "TOY_A.txt", "TUDataset(")
    folder = write_tu(tmp_path)
    whole = tu_graphs(tmp_path, "TOY")
    assert whole.y.tolist() == [0, 1]
    assert [graph.x.tolist() for graph in whole.graphs] == [
        [[1, 0, 0], [0, 1, 0]],
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
    ]
    assert edge_set(whole.graphs[1].edge_index) == {(0, 1), (1, 0), (1, 2), (2, 1)}
    assert [path.name for path in folder.parent.iterdir()] == ["raw"]
    (folder / "TOY_graph_indicator.txt").write_text("1\n1\nx\n")
    with pytest.raises(DataError) as error:
        tu_graphs(tmp_path, "TOY")
    one_paragraph(error, folder, "damaged")


def test_tu_sets_without_features_get_degrees(tmp_path):
    write_tu(tmp_path, labels=False)
    whole = tu_graphs(tmp_path, "TOY")
    assert torch.equal(whole.graphs[1].x, torch.tensor([[1.0], [2.0], [1.0]]).log1p())
