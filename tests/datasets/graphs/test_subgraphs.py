import torch

from structkd.datasets.graphs.subgraphs import RowLookup, sample_subgraph
from structkd.ops.csr import CSR


def test_rows_put_the_first_in_front_and_leave_no_trace():
    lookup = RowLookup(10)
    edges = torch.tensor([[7, 2, 9, 7], [5, 7, 5, 9]])
    for _ in range(2):
        ids, local = lookup.rows(torch.tensor([5, 2]), edges)
        assert ids.tolist() == [5, 2, 7, 9]
        assert torch.equal(ids[local], edges)
    ids, local = lookup.rows(torch.tensor([3]), torch.empty(2, 0, dtype=torch.long))
    assert (ids.tolist(), local.shape) == ([3], (2, 0))


def test_hops_expand_every_node_once(generator):
    # A path 0 <- 1 <- 2 <- 3 <- 4, and 1 <- 0, so that the second hop meets the seed again.
    edge_index = torch.tensor([[1, 2, 3, 4, 0], [0, 1, 2, 3, 1]])
    csr, lookup = CSR.from_edges(edge_index, 6), RowLookup(6)

    def edges(seeds, fanouts):
        ids, local = sample_subgraph(csr, torch.tensor(seeds), fanouts, lookup, generator)
        assert ids[: len(seeds)].tolist() == seeds
        return sorted(map(tuple, ids[local].t().tolist()))

    assert edges([0], [-1]) == [(1, 0)]
    assert edges([0], [-1, -1]) == [(0, 1), (1, 0), (2, 1)]
    assert edges([0], [-1, -1, -1]) == [(0, 1), (1, 0), (2, 1), (3, 2)]
    assert edges([0, 1], [-1]) == [(0, 1), (1, 0), (2, 1)]
    assert edges([5], [-1, -1]) == []
    assert len(edges([1], [1])) == 1
