import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from structkd.errors import ConfigError, DataError
from structkd.ops import CSR, csr_of, edge_dot, spmm

#: 0 -> 1 twice, a loop at 2, 2 -> 0, 1 -> 0; node 3 is isolated.
EDGES = torch.tensor([[0, 2, 0, 2, 1], [1, 2, 1, 0, 0]])
BACKENDS = ("csr", "gather")


def dense(edges, num_dst, num_src, value):
    return value.new_zeros(num_dst, num_src).index_put((edges[1], edges[0]), value, accumulate=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_by_hand(backend):
    x = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])
    csr = CSR.from_edges(EDGES, 4)
    assert spmm(csr, x, backend=backend).tolist() == [[5, 50], [2, 20], [3, 30], [0, 0]]
    value = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    weighted = [[22, 220], [4, 40], [6, 60], [0, 0]]
    assert spmm(csr, x, value, backend=backend).tolist() == weighted
    assert spmm(CSR.from_edges(EDGES, 4, weight=value), x, backend=backend).tolist() == weighted
    assert spmm(CSR.from_edges(EDGES, 4, weight=-value), x, value, backend=backend).tolist() == weighted
    assert edge_dot(csr, x, x, backend=backend).tolist() == [202, 909, 202, 303, 202]


@pytest.mark.parametrize("backend", BACKENDS)
def test_against_dense_matrices(backend, generator):
    edges = torch.stack([torch.randint(9, (60,), generator=generator), torch.randint(14, (60,), generator=generator)])
    csr = CSR.from_edges(edges, 14, 9)
    x = torch.randn(9, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.randn(14, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    value = torch.randn(60, generator=generator, dtype=torch.float64, requires_grad=True)
    got = (spmm(csr, x, value, backend=backend) * y).sum() + (edge_dot(csr, y, x, backend=backend) * value).sum()
    expected = 2 * (dense(edges, 14, 9, value) @ x * y).sum()
    torch.testing.assert_close(got, expected)
    for a, b in zip(torch.autograd.grad(got, (x, y, value)), torch.autograd.grad(expected, (x, y, value))):
        torch.testing.assert_close(a, b)


def test_gradcheck_to_second_order(generator):
    csr = CSR.from_edges(EDGES, 4)
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    value = torch.randn(5, generator=generator, dtype=torch.float64, requires_grad=True)
    for function, inputs in (
        (lambda x: spmm(csr, x), (x,)),
        (lambda x, value: spmm(csr, x, value), (x, value)),
        (lambda value: spmm(csr, x.detach(), value), (value,)),
        (lambda x, y: edge_dot(csr, x, y), (x, y)),
    ):
        assert gradcheck(function, inputs)
        assert gradgradcheck(function, inputs)


def test_permutation_equivariance(generator):
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    order = torch.randperm(4, generator=generator)
    place = order.argsort()
    moved = spmm(CSR.from_edges(place[EDGES], 4), x[order])
    torch.testing.assert_close(moved, spmm(CSR.from_edges(EDGES, 4), x)[order])


def test_stored_weights_are_constants():
    weight = torch.ones(5, requires_grad=True)
    x = torch.ones(4, 2, requires_grad=True)
    spmm(CSR.from_edges(EDGES, 4, weight=weight), x).sum().backward()
    assert weight.grad is None and x.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("backend", BACKENDS)
def test_low_precision_sums_in_float32(dtype, backend):
    # 5000 ones: half precision alone would stop at 2048, bfloat16 at 256.
    star = torch.stack([torch.arange(5000), torch.zeros(5000, dtype=torch.long)])
    x = torch.ones(5000, 1, dtype=dtype, requires_grad=True)
    out = spmm(CSR.from_edges(star, 1, 5000), x, backend=backend)
    assert out.dtype == dtype and abs(float(out.detach()) - 5000) <= 16
    out.backward(torch.ones_like(out))
    assert x.grad.dtype == dtype and bool((x.grad == 1).all())


def test_more_parallel_edges_than_places():
    edges = torch.zeros(2, 50, dtype=torch.long)
    csr, x = CSR.from_edges(edges, 2), torch.tensor([[1.0, 2.0], [5.0, 5.0]])
    value = torch.arange(50.0, requires_grad=True)
    out = spmm(csr, x, value)
    assert out.tolist() == [[1225, 2450], [0, 0]]
    out[0].sum().backward()
    assert value.grad.tolist() == edge_dot(csr, torch.ones(2, 2), x).tolist() == [3] * 50


def test_autocast_leaves_the_product_alone(generator):
    x = torch.randn(4, 3, generator=generator, requires_grad=True)
    value = torch.rand(5, generator=generator, requires_grad=True)
    csr = CSR.from_edges(EDGES, 4)
    with torch.autocast("cpu", torch.bfloat16):
        out, dots = spmm(csr, x, value), edge_dot(csr, x, x)
        (out.sum() + dots.sum()).backward()
    assert out.dtype == dots.dtype == torch.float32
    assert torch.equal(out, spmm(csr, x, value))


def test_non_contiguous_inputs_and_gradients(generator):
    csr = CSR.from_edges(EDGES, 4)
    wide = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    x = wide.t()[::2].requires_grad_()
    torch.testing.assert_close(spmm(csr, x), spmm(csr, x.contiguous()))
    value = torch.rand(5, 2, generator=generator, dtype=torch.float64)[:, 1]
    torch.testing.assert_close(spmm(csr, x, value), spmm(csr, x, value.contiguous()))
    (grad,) = torch.autograd.grad(spmm(csr, x).sum(), x)
    assert grad.tolist() == [[2] * 3, [1] * 3, [2] * 3, [0] * 3]


class LargestTensor(TorchDispatchMode):
    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.layout == torch.strided:
            self.numel = max(self.numel, out.numel())
        return out


def test_nothing_of_edges_times_channels(generator):
    edges = torch.randint(100, (2, 3000), generator=generator)
    x = torch.randn(100, 64, generator=generator, requires_grad=True)
    value = torch.rand(3000, generator=generator, requires_grad=True)
    with LargestTensor() as seen:
        csr = csr_of(edges, 100)
        (spmm(csr, x, value).sum() + edge_dot(csr, x, x).sum()).backward()
    assert seen.numel == 100 * 64
    with LargestTensor() as seen:
        spmm(csr, x, value, backend="gather")
    assert seen.numel == 3000 * 64


def test_bad_inputs():
    csr = CSR.from_edges(EDGES, 4, 6)
    with pytest.raises(DataError, match=r"x has shape \(4, 2\).*expected \[6, C\]"):
        spmm(csr, torch.ones(4, 2))
    with pytest.raises(DataError, match=r"x has shape \(6,\)"):
        spmm(csr, torch.ones(6))
    with pytest.raises(DataError, match=r"value has shape \(4,\).*expected \[5\]"):
        spmm(csr, torch.ones(6, 2), torch.ones(4))
    with pytest.raises(DataError, match="int64; expected floating point"):
        spmm(csr, torch.ones(6, 2, dtype=torch.long))
    with pytest.raises(DataError, match=r"a has shape \(6, 2\).*expected \[4, C\]"):
        edge_dot(csr, torch.ones(6, 2), torch.ones(6, 2))
    with pytest.raises(DataError, match="a has 3 features and b has 2"):
        edge_dot(csr, torch.ones(4, 3), torch.ones(6, 2))
    with pytest.raises(ConfigError, match="no backend 'dense'"):
        spmm(csr, torch.ones(6, 2), backend="dense")
