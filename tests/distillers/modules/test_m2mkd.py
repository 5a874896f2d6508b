"""M2mKD: hand-computed divergences in both modes, hard labels, the boundary term."""

import math

import pytest
import torch

from structkd import Structure
from structkd.distillers import M2mKD
from structkd.errors import ConfigError, DataError, WiringError

#: Student (1/2, 1/2) and (3/4, 1/4); teacher (3/4, 1/4) and (1/2, 1/2).
Z_S = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]], dtype=torch.float64)
Z_T = Z_S.flip(0)
FIRST = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
SECOND = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)


def loss(z_s, z_t, **options):
    return M2mKD(**options)(Structure(logits=z_s), Structure(logits=z_t))


def test_divergence_by_hand():
    found = loss(Z_S, Z_T)
    assert list(found) == ["soft_label"]
    assert found["soft_label"].item() == pytest.approx((FIRST + SECOND) / 2, abs=1e-12)
    reference = loss(Z_S, Z_T, mode="reference")["soft_label"]
    assert reference.item() == pytest.approx((FIRST + SECOND) / (2 * 2), abs=1e-12)  # batch times classes


def test_temperature_by_hand():
    # Twice the logits at twice the temperature are the same distributions; tau^2 = 4.
    assert loss(2 * Z_S, 2 * Z_T, tau=2.0)["soft_label"].item() == pytest.approx(2 * (FIRST + SECOND), abs=1e-12)
    assert loss(2 * Z_S, 2 * Z_T, tau=2.0, mode="reference")["soft_label"].item() == pytest.approx(FIRST + SECOND)


def test_the_reference_fades_with_the_number_of_classes():
    z_s, z_t = torch.randn(4, 1000), torch.randn(4, 1000)
    ratio = loss(z_s, z_t)["soft_label"] / loss(z_s, z_t, mode="reference")["soft_label"]
    assert ratio.item() == pytest.approx(1000, rel=1e-5)


def test_hard_label():
    z_t = torch.tensor([[0.0, 9.0], [9.0, 0.0]], dtype=torch.float64)
    found = loss(Z_S, z_t, kind="hard")
    assert list(found) == ["hard_label"]
    assert found["hard_label"].item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2, abs=1e-12)


def test_boundary():
    h_t = torch.randn(3, 5, 4, dtype=torch.float64)
    found = M2mKD(boundary_weight=2.0, logit_weight=0.0)(Structure(boundary=1.5 * h_t), Structure(boundary=h_t))
    assert list(found) == ["boundary"] and found["boundary"].item() == pytest.approx(2 * 0.25)
    both = M2mKD(boundary_weight=1.0)
    student, teacher = (Structure(logits=z, boundary=h_t) for z in (Z_S, Z_T))
    assert set(both(student, teacher)) == {"soft_label", "boundary"}
    with pytest.raises(DataError, match=r"\(3, 5, 4\).*\(3, 4, 5\)"):
        both(student, Structure(logits=Z_T, boundary=h_t.transpose(1, 2)))
    with pytest.raises(WiringError, match="boundary"):
        both(Structure(logits=Z_S), teacher)


def test_gradients():
    z_s, z_t = torch.randn(3, 4, dtype=torch.float64, requires_grad=True), torch.randn(3, 4, dtype=torch.float64)
    for options in (dict(tau=2.0), dict(mode="reference"), dict(kind="hard")):
        assert torch.autograd.gradcheck(lambda x, o=options: sum(loss(x, z_t, **o).values()), z_s)
    teacher = z_t.requires_grad_()
    loss(z_s, teacher)["soft_label"].backward()
    assert z_s.grad is not None and teacher.grad is None


def test_zero_at_equality_and_empty():
    z = torch.randn(3, 4)
    assert loss(z, z)["soft_label"].abs() < 1e-6
    for options in ({}, dict(kind="hard")):
        assert float(*loss(z[:0], z[:0], **options).values()) == 0


@pytest.mark.parametrize("options", [dict(tau=0), dict(kind="warm"), dict(mode="paper"), dict(logit_weight=0.0)])
def test_refused(options):
    with pytest.raises(ConfigError):
        M2mKD(**options)
