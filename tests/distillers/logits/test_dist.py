import pytest
import torch

from structkd import Structure
from structkd.distillers import DIST
from structkd.errors import ConfigError


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def losses(z_s, z_t, **options):
    return DIST(**options)(Structure(logits=z_s), Structure(logits=z_t))


def mean_distance(p_s, p_t):
    return 1 - torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(p_s, p_t)]).mean()


def test_is_one_minus_pearson_of_rows_and_columns():
    z_s, z_t = double(6, 4), double(6, 4)
    p_s, p_t = (z_s / 2).softmax(1), (z_t / 2).softmax(1)
    parts = losses(z_s, z_t, beta=3.0, gamma=0.5, tau=2.0)
    assert torch.allclose(parts["inter"], 3 * 4 * mean_distance(p_s, p_t))
    assert torch.allclose(parts["intra"], 0.5 * 4 * mean_distance(p_s.t(), p_t.t()))


def test_gradients():
    z_t = double(4, 3)
    check = lambda z: tuple(losses(z, z_t).values())  # noqa: E731
    assert torch.autograd.gradcheck(check, double(4, 3).requires_grad_())


def test_what_it_is_blind_to():
    """Affine changes of a row's probabilities (its sharpness towards the uniform one), and constants of its logits."""
    z_t = double(6, 4)
    assert all(value.abs() < 1e-14 for value in losses(z_t + double(6, 1), z_t).values())
    share = torch.rand(6, 1).double() * 0.8 + 0.1
    flatter = (share * z_t.softmax(1) + (1 - share) / 4).log()
    parts = losses(flatter, z_t)
    assert parts["inter"].abs() < 1e-14 and parts["intra"] > 1e-4
    parts = losses((0.5 * z_t.softmax(1) + 0.5 / 4).log(), z_t)  # all rows alike: the columns too
    assert parts["intra"].abs() < 1e-14


def test_order_and_a_single_sample():
    z_s, z_t, order = double(6, 4), double(6, 4), torch.randperm(6)
    shuffled, plain = losses(z_s[order], z_t[order]), losses(z_s, z_t)
    assert all(torch.allclose(shuffled[key], plain[key]) for key in plain)
    for samples in (0, 1):
        z = double(samples, 4).requires_grad_()
        parts = losses(z, double(samples, 4))
        sum(parts.values()).backward()
        assert parts["intra"] == 0 and bool(torch.isfinite(z.grad).all())
        assert bool(parts["inter"] > 0) == bool(samples)


def test_half_precision_settings_and_weights():
    z_s, z_t = double(6, 4), double(6, 4)
    parts, wide = losses(z_s.bfloat16(), z_t.bfloat16()), losses(z_s, z_t)
    assert all(parts[key].dtype == torch.float32 for key in parts)
    assert all(torch.allclose(parts[key].double(), wide[key], rtol=0.05) for key in parts)
    assert losses(z_s, z_t, beta=0).keys() == {"intra"} and losses(z_s, z_t, gamma=0).keys() == {"inter"}
    for options in ({"beta": -1}, {"gamma": -1}, {"tau": 0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            DIST(**options)
