import gc
import weakref

import pytest
import torch
from torch.nn import functional as F

from structkd.errors import DataError
from structkd.ops import is_sparse, linear, take_rows
from structkd.ops.csr import csr_of_matrix


def features(generator, rows=7, columns=9, dtype=torch.float64):
    x = torch.randn(rows, columns, generator=generator, dtype=dtype)
    x[torch.rand(rows, columns, generator=generator) < 0.7] = 0
    if rows > 2:
        x[2] = 0
    return x


def test_is_sparse(generator):
    x = features(generator)
    assert is_sparse(x.to_sparse_csr()) and not is_sparse(x) and not is_sparse(x.to_sparse())


@pytest.mark.parametrize("shape", [(7, 9), (1, 9), (0, 9), (7, 1)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear_is_torch_linear(shape, with_bias, generator):
    x = features(generator, *shape)
    weight = torch.randn(4, shape[1], generator=generator, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, generator=generator, dtype=torch.float64, requires_grad=True) if with_bias else None
    learns = (weight, bias) if with_bias else (weight,)
    upstream = torch.randn(shape[0], 4, generator=generator, dtype=torch.float64)
    expected = F.linear(x, weight, bias)
    for given in (x, x.to_sparse_csr()):
        out = linear(given, weight, bias)
        torch.testing.assert_close(out, expected)
        got = torch.autograd.grad(out, learns, upstream, retain_graph=True)
        for a, b in zip(got, torch.autograd.grad(expected, learns, upstream, retain_graph=True)):
            torch.testing.assert_close(a, b)


def test_linear_learns_in_low_precision(generator):
    x = features(generator, dtype=torch.float32)
    weight = torch.randn(4, 9, generator=generator).bfloat16().requires_grad_()
    out = linear(x.to_sparse_csr(), weight)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), F.linear(x, weight.float()), rtol=1e-2, atol=1e-2)


def test_transpose_is_cached_and_goes_with_the_features(generator):
    x = features(generator).to_sparse_csr()
    assert csr_of_matrix(x) is csr_of_matrix(x)
    weight = torch.ones(4, 9, dtype=torch.float64, requires_grad=True)
    before = linear(x, weight).detach()
    x.values().mul_(2)
    torch.testing.assert_close(linear(x, weight).detach(), 2 * before)
    x.mul_(2)
    torch.testing.assert_close(linear(x, weight).detach(), 4 * before)
    csr = weakref.ref(csr_of_matrix(x))
    del x
    gc.collect()
    assert csr() is None


def test_linear_bad_inputs(generator):
    x, weight = features(generator), torch.ones(4, 9, dtype=torch.float64)
    with pytest.raises(DataError, match=r"layout torch\.sparse_coo; expected dense or sparse CSR"):
        linear(x.to_sparse(), weight)
    with pytest.raises(DataError, match="no gradient"):
        linear(x.to_sparse_csr().requires_grad_(), weight)
    with pytest.raises(DataError, match="x has 9 features; weight of shape"):
        linear(x.to_sparse_csr(), weight[:, :5])


@pytest.mark.parametrize(
    "index",
    [[3, 0, 3, 6, 2], [], [5], [True, False, True, True, False, False, True]],
    ids=["some", "none", "one", "mask"],
)
def test_take_rows(index, generator):
    x = features(generator)
    index = torch.tensor(index) if index else torch.zeros(0, dtype=torch.long)
    taken = take_rows(x.to_sparse_csr(), index)
    assert is_sparse(taken)
    assert torch.equal(taken.to_dense(), x[index])
    assert torch.equal(take_rows(x, index), x[index])


def test_take_rows_keeps_the_index_dtype(generator):
    x = features(generator).to_sparse_csr()
    narrow = torch.sparse_csr_tensor(x.crow_indices().int(), x.col_indices().int(), x.values(), x.shape)
    taken = take_rows(narrow, torch.tensor([4, 1]))
    assert taken.crow_indices().dtype == taken.col_indices().dtype == torch.int32
    assert torch.equal(taken.to_dense(), x.to_dense()[[4, 1]])


def test_take_rows_of_an_empty_matrix():
    x = torch.zeros(0, 5).to_sparse_csr()
    assert take_rows(x, torch.zeros(0, dtype=torch.long)).shape == (0, 5)


def test_take_rows_out_of_range(generator):
    with pytest.raises(DataError, match="index runs from 1 to 7; expected ids from 0 to 6"):
        take_rows(features(generator).to_sparse_csr(), torch.tensor([1, 7]))
