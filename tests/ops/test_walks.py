import itertools

import pytest
import torch

from structkd.errors import DataError
from structkd.ops.csr import CSR
from structkd.ops.walks import random_walk


def test_walks_follow_edges_and_stay_where_there_are_none():
    edge_index = torch.tensor([[1, 2, 0, 3], [0, 1, 2, 2]])
    csr = CSR.from_edges(edge_index, 5)
    walks = random_walk(csr, torch.tensor([0, 1, 3, 4, 0]), 6)
    assert walks.shape == (5, 7)
    steps = set(map(tuple, edge_index.flip(0).t().tolist()))  # from a target to its source
    for walk in walks.tolist():
        assert all((a, b) in steps or (a == b and a in (3, 4)) for a, b in itertools.pairwise(walk))
    assert walks[2].tolist() == [3] * 7


def test_each_neighbour_is_as_likely():
    csr = CSR.from_edges(torch.tensor([[1, 2, 3, 3], [0, 0, 0, 0]]), 4)
    ends = random_walk(csr, torch.zeros(8000, dtype=torch.long), 1, torch.Generator().manual_seed(0))[:, 1]
    share = torch.bincount(ends, minlength=4) / 8000
    assert share.tolist() == pytest.approx([0, 0.25, 0.25, 0.5], abs=0.025)  # over four standard deviations


def test_the_generator_decides():
    csr = CSR.from_edges(torch.randint(9, (2, 60)), 9)
    walks = [random_walk(csr, torch.arange(9), 5, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*walks)


def test_no_edges_no_steps_no_walks():
    lonely = CSR.from_edges(torch.zeros(2, 0, dtype=torch.long), 3)
    assert random_walk(lonely, torch.arange(3), 2).tolist() == [[0] * 3, [1] * 3, [2] * 3]
    assert random_walk(lonely, torch.arange(3), 0).shape == (3, 1)
    assert random_walk(lonely, torch.zeros(0, dtype=torch.long), 4).shape == (0, 5)
    with pytest.raises(DataError, match="start"):
        random_walk(lonely, torch.tensor([3]), 1)
