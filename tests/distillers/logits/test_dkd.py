import pytest
import torch

from structkd import Structure
from structkd.distillers import DKD, KD
from structkd.errors import ConfigError, DataError

Y = torch.tensor([0, 3, 2, 2, 1])


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def losses(z_s, z_t, y=Y, mask=None, **options):
    return DKD(**options)(Structure(logits=z_s, y=y, mask=mask), Structure(logits=z_t))


def test_is_kd_when_the_second_part_weighs_what_the_teacher_leaves():
    """For a teacher that is equally sure of every label, plain distillation is one choice of beta."""
    z_s = double(5, 4)
    z_t = torch.full((5, 4), 1.0, dtype=torch.float64)
    z_t[torch.arange(5), Y] = 3.0
    unsure = 1 - (z_t / 2).softmax(1)[0, 0].item()
    parts = losses(z_s, z_t, alpha=1.0, beta=unsure, tau=2.0)
    kd = KD(2.0)(Structure(logits=z_s), Structure(logits=z_t))["soft_label"]
    assert torch.allclose(parts["target"] + parts["others"], kd)


def test_by_loops():
    z_s, z_t = double(5, 4), double(5, 4)
    target = others = 0
    for s, t, y in zip(z_s / 3, z_t / 3, Y):
        p_s, p_t = s.softmax(0), t.softmax(0)
        rest = [k for k in range(4) if k != y]
        for a, b in ((p_t[y], p_s[y]), (1 - p_t[y], 1 - p_s[y])):
            target = target + a * (a / b).log() * 9 / 5
        q_s, q_t = p_s[rest] / (1 - p_s[y]), p_t[rest] / (1 - p_t[y])
        others = others + (q_t * (q_t / q_s).log()).sum() * 9 / 5
    parts = losses(z_s, z_t, alpha=2.0, beta=0.5, tau=3.0)
    assert torch.allclose(parts["target"], 2 * target) and torch.allclose(parts["others"], 0.5 * others)


def test_warm_up():
    z_s, z_t = double(5, 4), double(5, 4)
    distiller = DKD(warm_up=4)
    full = distiller(Structure(logits=z_s, y=Y), Structure(logits=z_t))["others"]
    for epoch, share in ((0, 0.25), (2, 0.75), (3, 1), (90, 1)):
        distiller.set_progress(epoch, 100)
        assert torch.allclose(distiller(Structure(logits=z_s, y=Y), Structure(logits=z_t))["others"], share * full)


def test_rows_without_a_label_or_shut_out_take_no_part():
    z_s, z_t = double(5, 4), double(5, 4)
    kept = torch.tensor([True, True, False, True, False])
    some = losses(z_s[kept], z_t[kept], Y[kept])
    for other in (losses(z_s, z_t, Y.masked_fill(~kept, -1)), losses(z_s, z_t, mask=kept)):
        assert all(torch.allclose(other[key], some[key]) for key in some)
    none = losses(z_s.requires_grad_(), z_t, torch.full((5,), -1))
    sum(none.values()).backward()
    assert all(value == 0 for value in none.values()) and not z_s.grad.any()


def test_terms_of_weight_zero_are_left_out_and_bad_input():
    assert losses(double(5, 4), double(5, 4), beta=0).keys() == {"target"}
    assert losses(double(5, 4), double(5, 4), alpha=0).keys() == {"others"}
    with pytest.raises(DataError, match="from 0 to 3; expected 0 to 2"):
        losses(double(5, 3), double(5, 3))
    for options in ({"alpha": -1}, {"beta": -1}, {"tau": 0}, {"warm_up": -1}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            DKD(**options)
