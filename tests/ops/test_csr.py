import gc
import weakref

import pytest
import torch

from structkd.errors import DataError
from structkd.ops import CSR, csr_of
from structkd.ops.csr import row_entries

#: 0 -> 1 twice, a loop at 2, 2 -> 0, 1 -> 0; node 3 is isolated.
EDGES = torch.tensor([[0, 2, 0, 2, 1], [1, 2, 1, 0, 0]])


def test_rows_columns_and_order_by_hand():
    csr = CSR.from_edges(EDGES, 4)
    assert csr.rowptr.tolist() == [0, 2, 4, 5, 5]
    assert csr.row.tolist() == [0, 0, 1, 1, 2]
    assert csr.col.tolist() == [2, 1, 0, 0, 2]
    assert csr.eid.tolist() == [3, 4, 0, 2, 1]
    assert csr.degree().tolist() == [2, 2, 1, 0]
    assert (csr.shape, csr.num_edges, csr.value) == ((4, 4), 5, None)
    assert torch.equal(EDGES[:, csr.eid], torch.stack([csr.col, csr.row]))


def test_transpose_by_hand_and_back():
    csr = CSR.from_edges(EDGES, 3, 5, torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    turned = csr.t()
    assert turned.shape == (5, 3)
    assert turned.rowptr.tolist() == [0, 2, 3, 5, 5, 5]
    assert turned.col.tolist() == [1, 1, 0, 0, 2]
    assert csr.value.tolist() == [4, 5, 1, 3, 2]
    assert turned.value.tolist() == [1, 3, 5, 4, 2]
    assert torch.equal(EDGES[:, turned.eid], torch.stack([turned.row, turned.col]))
    assert csr.t() is turned and turned.t() is csr


def test_matrix_adds_parallel_edges(generator):
    value = torch.rand(5, generator=generator, dtype=torch.float64)
    dense = torch.zeros(4, 4, dtype=torch.float64).index_put((EDGES[1], EDGES[0]), value, accumulate=True)
    identity = torch.eye(4, dtype=torch.float64)
    for csr, given in ((CSR.from_edges(EDGES, 4), value), (CSR.from_edges(EDGES, 4, weight=value), None)):
        torch.testing.assert_close(csr.matrix(torch.float64, given) @ identity, dense)
        torch.testing.assert_close(csr.t().matrix(torch.float64, given) @ identity, dense.t())


def test_matrices_are_cached_by_dtype():
    csr = CSR.from_edges(EDGES, 4)
    assert csr.matrix(torch.float32) is csr.matrix(torch.float32)
    assert csr.matrix(torch.float64).dtype == torch.float64


def test_from_sparse_is_the_same_matrix():
    dense = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [3.0, 0.0, -1.0]])
    csr = CSR.from_sparse(dense.to_sparse_csr())
    assert csr.shape == (3, 3)
    assert torch.equal(csr.matrix(torch.float32).to_dense(), dense)
    assert torch.equal(csr.t().matrix(torch.float32).to_dense(), dense.t())
    narrow = torch.sparse_csr_tensor(csr.rowptr.int(), csr.col.int(), csr.value, (3, 3))
    assert CSR.from_sparse(narrow).col.dtype == torch.int64
    with pytest.raises(DataError, match=r"torch\.sparse_coo.*expected a sparse CSR"):
        CSR.from_sparse(dense.to_sparse())


def test_empty():
    for num_dst, num_src in ((0, 0), (3, 2)):
        csr = CSR.from_edges(torch.zeros(2, 0, dtype=torch.long), num_dst, num_src)
        assert csr.rowptr.tolist() == [0] * (num_dst + 1)
        assert csr.t().rowptr.tolist() == [0] * (num_src + 1)


@pytest.mark.parametrize(
    "edges, sizes, message",
    [
        (torch.zeros(3, 2, dtype=torch.long), (3,), r"shape \(3, 2\); expected int64 of shape \[2, E\]"),
        (torch.zeros(2, 2), (3,), "float32"),
        (torch.tensor([[0], [3]]), (3,), r"targets.* from 3 to 3; expected ids from 0 to 2"),
        (torch.tensor([[-1], [0]]), (3,), r"sources.* from -1 to -1"),
        (torch.tensor([[4], [0]]), (3, 4), r"sources.* from 4 to 4; expected ids from 0 to 3"),
    ],
)
def test_bad_edges(edges, sizes, message):
    with pytest.raises(DataError, match=message):
        CSR.from_edges(edges, *sizes)


def test_bad_weight():
    with pytest.raises(DataError, match=r"weight has shape \(4,\); expected \[5\]"):
        CSR.from_edges(EDGES, 4, weight=torch.ones(4))


def test_row_entries():
    rowptr, entries = row_entries(CSR.from_edges(EDGES, 4).rowptr, torch.tensor([3, 1, 1, 0]))
    assert rowptr.tolist() == [0, 0, 2, 4, 6]
    assert entries.tolist() == [2, 3, 2, 3, 0, 1]
    rowptr, entries = row_entries(torch.tensor([0], dtype=torch.int32), torch.zeros(0, dtype=torch.long))
    assert rowptr.tolist() == [0] and entries.tolist() == []


# csr_of


def test_csr_of_remembers_by_identity_and_size():
    edges = EDGES.clone()
    csr = csr_of(edges, 4)
    assert csr_of(edges, 4) is csr and csr_of(edges, 4, 4) is csr
    assert csr_of(edges, 5).shape == (5, 5)
    assert csr_of(edges, 4, 6).shape == (4, 6)
    assert csr_of(edges, 4) is csr
    assert csr_of(edges.clone(), 4) is not csr


def test_csr_of_notices_changes_in_place():
    edges = EDGES.clone()
    csr_of(edges, 4)
    edges[1, 0] = 3
    assert csr_of(edges, 4).degree().tolist() == [2, 1, 1, 1]
    edges[0].fill_(0)
    assert csr_of(edges, 4).col.unique().tolist() == [0]
    edges.data = EDGES[:, :2].clone()
    assert csr_of(edges, 4).num_edges == 2


def test_csr_of_keeps_nothing_alive():
    edges = EDGES.clone()
    csr, turned, tensor = (weakref.ref(x) for x in (csr_of(edges, 4), csr_of(edges, 4).t(), edges))
    gc.collect()
    assert csr() is not None and turned() is not None
    del edges
    gc.collect()
    assert tensor() is None and csr() is None and turned() is None


def test_csr_of_does_not_confuse_a_new_tensor_at_an_old_address():
    for i in range(50):
        edges = torch.tensor([[0, 1], [i % 2, i % 2]])
        assert int(csr_of(edges, 2).degree()[i % 2]) == 2
        del edges


def test_csr_of_in_inference_mode():
    edges = EDGES.clone()
    with torch.inference_mode():
        remembered = csr_of(edges, 4)
        remembered.t()
        fleeting = EDGES.clone()
        assert csr_of(fleeting, 4) is not csr_of(fleeting, 4)
    assert csr_of(edges, 4) is remembered
    x = torch.ones(4, 2, requires_grad=True)
    from structkd.ops import spmm

    for backend in ("csr", "gather"):
        spmm(remembered, x, backend=backend).sum().backward()
