import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from structkd.errors import DataError
from structkd.ops import segment_log_softmax, segment_max, segment_mean, segment_softmax, segment_sum

INDEX = torch.tensor([3, 0, 3, 1, 3, 0])  # segment 2 is empty


def by_segment(function, src, index, num_segments):
    """The definition, one segment at a time."""
    rows = [src[index == s] for s in range(num_segments)]
    return torch.stack([function(r) if len(r) else src.new_zeros(src.shape[1:]) for r in rows])


def softmax_by_segment(src, index, num_segments):
    out = torch.zeros_like(src)
    for s in range(num_segments):
        out[index == s] = torch.softmax(src[index == s], 0)
    return out


@pytest.mark.parametrize(
    "function, definition",
    [
        (segment_sum, lambda rows: rows.sum(0)),
        (segment_mean, lambda rows: rows.mean(0)),
        (segment_max, lambda rows: rows.max(0).values),
    ],
)
@pytest.mark.parametrize("shape", [(6,), (6, 3), (6, 2, 3)])
def test_reductions_against_their_definition(function, definition, shape, generator):
    src = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    out = function(src, INDEX, 4)
    expected = by_segment(definition, src, INDEX, 4)
    torch.testing.assert_close(out, expected)
    assert bool((out[2] == 0).all())
    weight = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    for a, b in zip(torch.autograd.grad(out, src, weight), torch.autograd.grad(expected, src, weight)):
        torch.testing.assert_close(a, b)
    assert gradcheck(lambda src: function(src, INDEX, 4), (src,))


@pytest.mark.parametrize("function, of", [(segment_softmax, lambda p: p), (segment_log_softmax, torch.log)])
@pytest.mark.parametrize("shape", [(6,), (6, 3), (6, 2, 3)])
def test_softmax_against_its_definition(function, of, shape, generator):
    src = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(function(src, INDEX, 4), of(softmax_by_segment(src, INDEX, 4)))
    assert gradcheck(lambda src: function(src, INDEX, 4), (src,))
    assert gradgradcheck(lambda src: function(src, INDEX, 4), (src,))


def test_max_gives_ties_to_the_first_row():
    src = torch.tensor([[1.0, 5.0], [2.0, 5.0], [2.0, 1.0], [0.0, 0.0]], requires_grad=True)
    segment_max(src, torch.tensor([0, 0, 0, 1]), 2).backward(torch.tensor([[10.0, 20.0], [30.0, 40.0]]))
    assert src.grad.tolist() == [[0, 20], [10, 0], [0, 0], [30, 40]]


def test_max_gradient_does_not_depend_on_the_block(generator, monkeypatch):
    src = torch.randint(4, (500, 6), generator=generator).double().requires_grad_()
    index = torch.randint(7, (500,), generator=generator)
    weight = torch.randn(7, 6, generator=generator, dtype=torch.float64)
    (expected,) = torch.autograd.grad(by_segment(lambda rows: rows.max(0).values, src, index, 7), src, weight)
    for block in (1, 50, 2**20):
        monkeypatch.setitem(segment_max.__globals__, "_BLOCK", block)
        assert torch.equal(torch.autograd.grad(segment_max(src, index, 7), src, weight)[0], expected)


def test_max_of_negative_infinite_and_nan_values():
    src = torch.tensor([-3.0, -float("inf"), float("nan"), -2.0], requires_grad=True)
    out = segment_max(src, torch.tensor([0, 1, 2, 2]), 3)
    assert out[:2].tolist() == [-3, -float("inf")] and bool(out[2].isnan())
    out.backward(torch.ones(3))
    assert src.grad.tolist() == [1, 1, 0, 0]


def test_softmax_is_stable():
    src = torch.tensor([1000.0, 999.0, -1000.0, -1001.0, 3e38], requires_grad=True)
    index = torch.tensor([0, 0, 1, 1, 2])
    expected = torch.tensor([0.7310586, 0.2689414, 0.7310586, 0.2689414, 1.0])
    out = segment_softmax(src, index, 5)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(segment_log_softmax(src, index, 5), expected.log())
    (out @ torch.arange(5.0)).backward()
    assert bool(src.grad.isfinite().all())
    apart = segment_log_softmax(torch.tensor([0.0, -500.0]), torch.tensor([0, 0]), 1)
    assert apart.tolist() == [0, -500]


def test_order_of_rows_does_not_matter(generator):
    src = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    order = torch.randperm(6, generator=generator)
    for function in (segment_sum, segment_mean, segment_max):
        torch.testing.assert_close(function(src[order], INDEX[order], 4), function(src, INDEX, 4))
    for function in (segment_softmax, segment_log_softmax):
        torch.testing.assert_close(function(src[order], INDEX[order], 4), function(src, INDEX, 4)[order])


@pytest.mark.parametrize("function", [segment_sum, segment_mean, segment_max, segment_softmax, segment_log_softmax])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_empty_single_and_dtypes(function, dtype):
    for shape in ((0,), (0, 3), (0, 0), (0, 2, 3)):
        for num_segments in (0, 4):
            src = torch.zeros(shape, dtype=dtype, requires_grad=True)
            out = function(src, torch.zeros(0, dtype=torch.long), num_segments)
            out.sum().backward()
            assert out.dtype == dtype and src.grad.shape == shape
    one = function(torch.ones(1, 2, dtype=dtype), torch.zeros(1, dtype=torch.long), 1)
    assert one.dtype == dtype and bool((one == (0 if function is segment_log_softmax else 1)).all())


def test_low_precision_sums_in_float32():
    index = torch.zeros(5000, dtype=torch.long)
    for dtype in (torch.bfloat16, torch.float16):
        ones = torch.ones(5000, 1, dtype=dtype)
        assert abs(float(segment_sum(ones, index, 1)) - 5000) <= 16
        assert float(segment_mean(ones, index, 1)) == 1
        assert float(segment_softmax(ones, index, 1).sum(dtype=torch.float64)) == pytest.approx(1, rel=5e-3)


def test_bad_inputs():
    for src, index in (
        (torch.ones(3, 2), torch.zeros(4)),
        (torch.ones(3), torch.zeros(3, 1)),
        (torch.arange(3), INDEX),
    ):
        for function in (segment_sum, segment_max):
            with pytest.raises(DataError, match=r"expected floating point \[E, \.\.\.\] and \[E\]"):
                function(src, index.long(), 2)
