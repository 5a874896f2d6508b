import math

import pytest
import torch

from structkd.errors import ConfigError, DataError
from structkd.models.graphs import link_heuristics
from structkd.models.graphs.link_heuristics import HEURISTICS, HeuristicTeacher, capped_shortest_path, common_neighbors


def random_graph(nodes=25, links=45):
    ends = torch.randint(nodes, (2, links))
    return torch.cat([ends, ends.flip(0), ends[:, :5]], dim=1)  # loops and repeats among them


def adjacency(edge_index, nodes):
    near = [set() for _ in range(nodes)]
    for a, b in edge_index.t().tolist():
        if a != b:
            near[a].add(b)
    return near


def distance(near, a, b):
    front, seen, steps = {a}, {a}, 0
    while front and b not in front:
        front = {c for v in front for c in near[v]} - seen
        seen |= front
        steps += 1
    return steps if b in front else math.inf


def naive(name, near, a, b):
    shared = near[a] & near[b]
    if name == "common_neighbors":
        return len(shared)
    if name == "adamic_adar":
        return sum(1 / math.log(len(near[k])) for k in shared if len(near[k]) > 1)
    if name == "resource_allocation":
        return sum(1 / len(near[k]) for k in shared)
    steps = max(distance(near, a, b), 1)
    return 1 / steps if steps <= 6 else 0.0


@pytest.mark.parametrize("name", sorted(HEURISTICS))
@pytest.mark.parametrize("budget", [1 << 22, 40])
def test_scores_match_sets_of_neighbours(name, budget, monkeypatch):
    monkeypatch.setattr(link_heuristics, "BUDGET", budget)  # 40: many slices
    edge_index = random_graph()
    near = adjacency(edge_index, 25)
    pairs = torch.cartesian_prod(torch.arange(25), torch.arange(25)).t()
    scores = HEURISTICS[name](pairs, edge_index, 25)
    expected = [naive(name, near, a, b) for a, b in pairs.t().tolist()]
    assert scores.tolist() == pytest.approx(expected, abs=1e-5)
    assert scores.dtype == torch.float32
    order = torch.randperm(pairs.size(1))
    assert torch.equal(HEURISTICS[name](pairs[:, order], edge_index, 25), scores[order])


def test_a_path_by_hand():
    edges = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
    edges = torch.cat([edges, edges.flip(0)], dim=1)
    pairs = torch.tensor([[0, 0, 0, 0, 4, 5], [2, 1, 4, 0, 0, 0]])
    assert common_neighbors(pairs, edges, 6).tolist() == [1, 0, 0, 1, 0, 0]
    assert capped_shortest_path(pairs, edges, 6).tolist() == pytest.approx([1 / 2, 1, 1 / 4, 1, 1 / 4, 0])
    assert capped_shortest_path(pairs, edges, 6, cap=3).tolist() == pytest.approx([1 / 2, 1, 0, 1, 0, 0])


@pytest.mark.parametrize("name", sorted(HEURISTICS))
def test_nothing_to_score(name):
    none = torch.zeros(2, 0, dtype=torch.long)
    assert HEURISTICS[name](none, random_graph(), 25).shape == (0,)
    assert HEURISTICS[name](none, none, 0).shape == (0,)
    alone = HEURISTICS[name](torch.tensor([[0, 0], [1, 0]]), none, 2)
    assert alone.tolist() == [0, 1 if name == "capped_shortest_path" else 0]


def test_the_teacher_scores_like_a_link_model():
    edge_index = random_graph()
    pairs = torch.randint(25, (2, 9))
    out = HeuristicTeacher("adamic_adar")(torch.zeros(25, 1), pairs, edge_index)
    assert torch.equal(out["logits"], HEURISTICS["adamic_adar"](pairs, edge_index, 25))
    with pytest.raises(ConfigError, match="common_neighbors"):
        HeuristicTeacher("common_neighbours")
    with pytest.raises(DataError, match="pairs"):
        HeuristicTeacher()(torch.zeros(25, 1), torch.tensor([[0], [25]]), edge_index)
