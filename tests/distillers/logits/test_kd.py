import pytest
import torch

from structkd import Structure
from structkd.distillers import KD
from structkd.errors import ConfigError


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_is_the_published_formula():
    z_s, z_t = double(5, 4), double(5, 4)
    p_s, p_t = (z_s / 3).softmax(1), (z_t / 3).softmax(1)
    expected = 9 * (p_t * (p_t / p_s).log()).sum() / 5
    assert torch.allclose(KD(3.0)(Structure(logits=z_s), Structure(logits=z_t))["soft_label"], expected)


def test_the_gradient_s_size_hardly_depends_on_a_high_temperature():
    z_s, z_t = double(5, 4).requires_grad_(), double(5, 4)
    norms = []
    for tau in (50.0, 100.0):
        loss = KD(tau)(Structure(logits=z_s), Structure(logits=z_t))["soft_label"]
        norms.append(torch.autograd.grad(loss, z_s)[0].norm())
    assert torch.allclose(norms[0], norms[1], rtol=0.02)


def test_zero_at_equality_and_only_masked_rows():
    z_s, z_t, mask = double(5, 4), double(5, 4), torch.tensor([True, False, True, True, False])
    assert KD()(Structure(logits=z_t + 1), Structure(logits=z_t))["soft_label"].abs() < 1e-14
    masked = KD()(Structure(logits=z_s, mask=mask), Structure(logits=z_t))["soft_label"]
    assert torch.allclose(masked, KD()(Structure(logits=z_s[mask]), Structure(logits=z_t[mask]))["soft_label"])


def test_bad_settings():
    with pytest.raises(ConfigError, match="tau=0"):
        KD(0)
