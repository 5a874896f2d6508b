import pytest
import torch
from torch.autograd import gradcheck

from structkd.backends import use_backend
from structkd.errors import ConfigError, DataError
from structkd.ops import grouped_matmul
from structkd.ops.grouped_matmul import GROUPED_MATMUL

SIZES = torch.tensor([3, 0, 5, 2, 0])
GROUPED = not GROUPED_MATMUL.find("grouped").why_not()


def inputs(generator, dtype=torch.float64, channels=8, out=4):
    x = torch.randn(10, channels, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(5, out, channels, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return x, weight


def test_hand_computed():
    x = torch.tensor([[1.0, 2], [3, 4], [5, 6]])
    weight = torch.tensor([[[1.0, 0]], [[7, 7]], [[0, 10]]])
    assert grouped_matmul(x, weight, torch.tensor([1, 0, 2])).tolist() == [[1], [40], [60]]


def test_gradients(generator):
    x, weight = inputs(generator)
    assert gradcheck(lambda x, w: grouped_matmul(x, w, SIZES), (x, weight))


@pytest.mark.skipif(not GROUPED, reason="torch has no grouped_mm")
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_grouped_and_loop_agree_forward_and_backward(generator, dtype, tolerance):
    results = []
    for backend in ("grouped", "loop"):
        x, weight = inputs(generator.manual_seed(0), dtype, 16, 24)
        out = grouped_matmul(x, weight, SIZES, backend=backend)
        out.sum().backward()  # an expanded gradient
        results.append((out, x.grad, weight.grad))
        assert not bool(weight.grad[[1, 4]].any()) and bool(weight.grad[[0, 2, 3]].any((1, 2)).all())
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference, rtol=tolerance, atol=tolerance)


def test_rows_may_come_as_a_view(generator):
    x, weight = inputs(generator, torch.float32, 16, 16)
    for backend in ["loop", *(["grouped"] if GROUPED else [])]:
        out = grouped_matmul(x.detach().t().contiguous().t(), weight.detach(), SIZES, backend=backend)
        assert torch.allclose(out, grouped_matmul(x, weight, SIZES), atol=1e-5)


def test_what_the_grouped_product_cannot_do_goes_to_the_loop(generator):
    for dtype, channels in ((torch.float64, 16), (torch.float32, 7)):
        x, weight = inputs(generator, dtype, channels, 16)
        assert GROUPED_MATMUL.select(x, weight, SIZES).name == "loop"
        with pytest.raises(ConfigError, match="grouped"), use_backend("grouped_matmul", "grouped"):
            grouped_matmul(x, weight, SIZES)


def test_all_groups_empty_and_no_groups():
    weight = torch.ones(3, 2, 4, requires_grad=True)
    out = grouped_matmul(torch.zeros(0, 4), weight, torch.zeros(3, dtype=torch.long))
    out.sum().backward()
    assert out.shape == (0, 2) and not bool(weight.grad.any())
    assert grouped_matmul(torch.zeros(0, 4), torch.zeros(0, 2, 4), torch.zeros(0, dtype=torch.long)).shape == (0, 2)


def test_autocast(generator):
    x, weight = inputs(generator, torch.float32, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        out = grouped_matmul(x, weight, SIZES)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    assert x.grad.dtype == weight.grad.dtype == torch.float32


def test_bad_inputs():
    weight = torch.ones(2, 4, 4)
    with pytest.raises(DataError, match=r"x is \(3, 5\).*expected \[N, C\], \[G, D, C\] and \[G\]"):
        grouped_matmul(torch.ones(3, 5), weight, torch.tensor([1, 2]))
    for backend in ["loop", *(["grouped"] if GROUPED else [])]:
        with pytest.raises(DataError, match="4 rows together, but x has 3"):
            grouped_matmul(torch.ones(3, 4), weight, torch.tensor([1, 3]), backend=backend)
    with pytest.raises(DataError, match="floating point"):
        grouped_matmul(torch.ones(3, 4).long(), weight.long(), torch.tensor([1, 2]))
