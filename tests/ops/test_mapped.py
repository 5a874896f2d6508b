import pytest
import torch

from structkd.datasets import synthetic_graph
from structkd.errors import DataError
from structkd.ops import csr_of, spmm
from structkd.ops.mapped import MappedCSR, mapped_spmm


@pytest.fixture
def edges():
    return synthetic_graph(num_nodes=50, num_edges=140, num_features=2, num_classes=3).edge_index


@pytest.fixture(params=[torch.int32, torch.int64])
def mapped(edges, request):
    csr = csr_of(edges, 50)
    return MappedCSR(csr.rowptr, csr.col.to(request.param))


def test_rows_and_blocks_are_those_of_the_whole(edges, mapped):
    csr = csr_of(edges, 50)
    dense = csr.matrix(torch.float64).to_dense()
    assert torch.equal(mapped.degree(), csr.degree())
    ids = torch.tensor([7, 3, 7])
    assert torch.equal(mapped.rows(ids).matrix(torch.float64).to_dense(), dense[ids])
    assert torch.equal(mapped.block(10, 30).matrix(torch.float64).to_dense(), dense[10:30])


@pytest.mark.parametrize(("most", "rows"), [(1, 50), (9, 50), (10**6, 7), (10**6, 10**6)])
def test_blocks_cover_all_rows_within_their_bounds(mapped, most, rows):
    blocks = list(mapped.blocks(most, rows))
    assert [start for start, _ in blocks] == [0] + [stop for _, stop in blocks[:-1]]
    assert blocks[-1][1] == 50
    for start, stop in blocks:
        assert 1 <= stop - start <= rows
        assert stop - start == 1 or int(mapped.rowptr[stop] - mapped.rowptr[start]) <= most


@pytest.mark.parametrize("sources", [None, 1, 7, 50, 1000])
@pytest.mark.parametrize("most", [3, 10**6])
def test_product_equals_spmm(edges, mapped, sources, most):
    x = torch.randn(50, 4, dtype=torch.float64)
    out = torch.full((50, 4), torch.nan, dtype=torch.float64)
    expected = spmm(csr_of(edges, 50), x)
    assert mapped_spmm(mapped, x, out, most, sources) is out
    torch.testing.assert_close(out, expected)
    if sources is None:
        assert torch.equal(out, expected)


def test_half_features_are_summed_in_float32(edges, mapped):
    x = torch.randn(50, 4).half()
    out = mapped_spmm(mapped, x, torch.empty(50, 4))
    torch.testing.assert_close(out, spmm(csr_of(edges, 50), x.float()))


def test_without_edges_the_sums_are_zero():
    csr = MappedCSR(torch.zeros(4, dtype=torch.long), torch.zeros(0, dtype=torch.int32))
    assert mapped_spmm(csr, torch.ones(3, 2), torch.ones(3, 2)).eq(0).all()
    empty = MappedCSR(torch.zeros(1, dtype=torch.long), torch.zeros(0, dtype=torch.int32))
    assert list(empty.blocks()) == []
    assert mapped_spmm(empty, torch.ones(0, 2), torch.ones(0, 2)).shape == (0, 2)


def test_shapes_are_checked(mapped):
    with pytest.raises(DataError, match="expected"):
        mapped_spmm(mapped, torch.ones(49, 2), torch.ones(50, 2))
