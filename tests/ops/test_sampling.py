from collections import Counter

import pytest
import torch

from structkd.errors import ConfigError, DataError
from structkd.ops import CSR, sample_neighbors

#: Into 0: ten edges; into 1: three, two of them parallel; into 2: none; into 3: a loop.
SOURCES = [*range(1, 11), 4, 4, 5, 3]
TARGETS = [0] * 10 + [1] * 3 + [3]


@pytest.fixture
def edges(generator):
    return torch.tensor([SOURCES, TARGETS])[:, torch.randperm(14, generator=generator)]


@pytest.mark.parametrize("fanout", [-1, 0, 1, 2, 3, 9, 10, 50])
def test_counts_ids_and_no_repeats(edges, fanout, generator):
    seeds = torch.tensor([1, 0, 2, 3, 0])
    src, dst, eid = sample_neighbors(CSR.from_edges(edges, 11), seeds, fanout, generator)
    assert torch.equal(edges[0][eid], src)
    assert torch.equal(edges[1][eid], seeds[dst])
    assert bool((dst.diff() >= 0).all())
    degree = torch.tensor([3, 10, 0, 1, 10])
    expected = degree if fanout < 0 else degree.clamp(max=fanout)
    assert torch.bincount(dst, minlength=5).tolist() == expected.tolist()
    assert torch.unique(torch.stack([dst, eid]), dim=1).size(1) == eid.numel()


def test_every_subset_is_equally_likely(edges, generator):
    draws = 21000
    seeds = torch.zeros(draws, dtype=torch.long)
    src, _, _ = sample_neighbors(CSR.from_edges(edges, 11), seeds, 4, generator)
    subsets = Counter(map(tuple, src.view(draws, 4).sort(1).values.tolist()))
    assert len(subsets) == 210  # 10 choose 4
    chi_square = sum((count - 100) ** 2 / 100 for count in subsets.values())
    assert chi_square < 209 + 5 * (2 * 209) ** 0.5  # mean and five standard deviations of its distribution


def test_generator_decides(edges):
    csr, seeds = CSR.from_edges(edges, 11), torch.tensor([0, 0, 0, 0])

    def draw(seed):
        return sample_neighbors(csr, seeds, 3, torch.Generator().manual_seed(seed)).eid

    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))
    torch.manual_seed(7)
    first = sample_neighbors(csr, seeds, 3).eid
    torch.manual_seed(7)
    assert torch.equal(first, sample_neighbors(csr, seeds, 3).eid)


def test_no_seeds_and_no_edges(generator):
    empty = CSR.from_edges(torch.zeros(2, 0, dtype=torch.long), 4)
    for fanout in (-1, 0, 3):
        for seeds in (torch.zeros(0, dtype=torch.long), torch.tensor([2, 2])):
            assert all(part.numel() == 0 for part in sample_neighbors(empty, seeds, fanout, generator))


def test_bad_inputs(edges):
    csr = CSR.from_edges(edges, 11)
    with pytest.raises(ConfigError, match="fanout is -2"):
        sample_neighbors(csr, torch.tensor([0]), -2)
    with pytest.raises(DataError, match="seeds runs from -1 to 11; expected ids from 0 to 10"):
        sample_neighbors(csr, torch.tensor([-1, 11]), 2)
