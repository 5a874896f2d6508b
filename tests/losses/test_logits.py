import math

import pytest
import torch
import torch.nn.functional as F

from structkd.errors import ConfigError, DataError
from structkd.losses import binary_kl_divergence, kl_divergence


def test_by_hand():
    # p_t = (3/4, 1/4), p_s = (1/4, 3/4): KL = 3/4 ln 3 - 1/4 ln 3; the second row is equal.
    z_t = torch.tensor([[math.log(3), 0.0], [2.0, 1.0]], dtype=torch.float64)
    z_s = torch.tensor([[0.0, math.log(3)], [2.0, 1.0]], dtype=torch.float64)
    rows = kl_divergence(z_s, z_t, reduction="none")
    assert rows.tolist() == pytest.approx([0.5 * math.log(3), 0], abs=1e-14)
    assert kl_divergence(z_s, z_t).item() == pytest.approx(0.25 * math.log(3))
    assert kl_divergence(z_s, z_t, weight=torch.tensor([4.0, 7.0])).item() == pytest.approx(math.log(3))
    assert kl_divergence(2 * z_s, 2 * z_t, 2.0, scale_tau2=True).item() == pytest.approx(math.log(3))


def test_gradient_is_the_difference_of_probabilities():
    z_s, z_t = torch.randn(2, 7, 5, dtype=torch.float64)
    z_s.requires_grad_()
    (gradient,) = torch.autograd.grad(kl_divergence(z_s, z_t, 2.0), z_s)
    assert torch.allclose(gradient, ((z_s / 2).softmax(-1) - (z_t / 2).softmax(-1)) / 2 / 7)


def test_zero_at_equality_and_permutation_of_rows():
    z_s, z_t = torch.randn(2, 7, 5, dtype=torch.float64)
    assert kl_divergence(z_t, z_t) == 0
    assert kl_divergence(z_t + 3, z_t).abs() < 1e-14
    order = torch.randperm(7)
    assert torch.allclose(
        kl_divergence(z_s, z_t, reduction="none")[order], kl_divergence(z_s[order], z_t[order], reduction="none")
    )


def test_leading_dimensions_count_rows():
    z_s, z_t = torch.randn(2, 2, 3, 5, dtype=torch.float64)
    assert torch.allclose(kl_divergence(z_s, z_t), kl_divergence(z_s.flatten(0, 1), z_t.flatten(0, 1)))
    assert kl_divergence(z_s, z_t, reduction="none").shape == (2, 3)


def test_empty_single_and_extreme():
    z = torch.randn(0, 5, requires_grad=True)
    value = kl_divergence(z, z.detach())
    value.backward()
    assert value == 0
    assert kl_divergence(torch.randn(4, 1), torch.randn(4, 1)) == 0  # one class: nothing to choose
    far = torch.tensor([[1e4, -1e4]])
    assert kl_divergence(far, -far).item() == pytest.approx(2e4)


def test_the_teacher_side_is_not_detached():
    z_s, z_t = torch.randn(2, 7, 5).unbind()
    z_t.requires_grad_()
    kl_divergence(z_s, z_t).backward()
    assert z_t.grad.any()


def test_agrees_with_torch():
    z_s, z_t = torch.randn(2, 7, 5)
    expected = F.kl_div(z_s.log_softmax(-1), z_t.softmax(-1), reduction="batchmean")
    assert torch.allclose(kl_divergence(z_s, z_t), expected, atol=1e-6)


def test_bad_input():
    z = torch.randn(3, 4)
    with pytest.raises(DataError, match=r"\(3, 4\), teacher logits \(4, 3\)"):
        kl_divergence(z, z.t())
    with pytest.raises(ConfigError, match="reduction is 'mean'"):
        kl_divergence(z, z, reduction="mean")
    with pytest.raises(ConfigError, match="tau is -1"):
        kl_divergence(z, z, tau=-1)


def test_binary_is_the_divergence_of_two_classes():
    z_s, z_t = torch.randn(2, 7, 5, dtype=torch.float64, requires_grad=True).unbind()
    two = [torch.stack([z, torch.zeros_like(z)], -1) for z in (z_s, z_t)]
    assert torch.allclose(binary_kl_divergence(z_s, z_t, 2.0), kl_divergence(*two, 2.0, reduction="none"))
    small = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: binary_kl_divergence(z, torch.ones_like(z), 1.5), small)


def test_binary_by_hand_and_far_apart():
    # p_t = 3/4, p_s = 1/4.
    z = torch.tensor(math.log(3), dtype=torch.float64)
    assert binary_kl_divergence(-z, z).item() == pytest.approx(0.5 * math.log(3))
    assert binary_kl_divergence(z, z) == 0
    far = torch.tensor([1e4, -1e4], requires_grad=True)
    value = binary_kl_divergence(far, -far.detach())
    value.sum().backward()
    assert value.tolist() == pytest.approx([1e4, 1e4]) and far.grad.tolist() == [1, -1]


def test_binary_bad_input():
    z = torch.randn(3, 4)
    with pytest.raises(DataError, match=r"\(3, 4\), teacher logits \(4, 3\)"):
        binary_kl_divergence(z, z.t())
    with pytest.raises(ConfigError, match="tau is 0"):
        binary_kl_divergence(z, z, 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", [kl_divergence, lambda a, b: binary_kl_divergence(a, b).mean()])
def test_half_precision_is_compared_in_float32(loss, dtype):
    """The divergence of near distributions over many classes is far below the rounding of their logarithms."""
    z_t = torch.randn(64, 1000)
    narrow = [z.to(dtype).requires_grad_() for z in (z_t + 0.3 * torch.randn(64, 1000), z_t)]
    wide = [z.detach().double().requires_grad_() for z in narrow]
    value, expected = loss(*narrow), loss(*wide)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), expected, rtol=1e-3, atol=0)
    (gradient,), (exact,) = torch.autograd.grad(value, narrow[:1]), torch.autograd.grad(expected, wide[:1])
    assert float((gradient.double() - exact).norm() / exact.norm()) < 0.03  # float16 has few digits this small
    if loss is kl_divergence:
        assert bool((loss(*narrow, reduction="none") >= 0).all())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(*narrow).double(), expected, rtol=1e-3, atol=0)
