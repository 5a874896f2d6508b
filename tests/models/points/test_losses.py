import pytest
import torch

from structkd.models.points.losses import gaussian_focal, negative_focal, positive_focal, smooth_l1


@pytest.fixture
def logits(generator):
    return (3 * torch.randn(200, generator=generator, dtype=torch.float64)).requires_grad_()


def test_focal_loss_is_its_formula(logits):
    p = logits.sigmoid()
    torch.testing.assert_close(positive_focal(logits), -0.25 * (1 - p) ** 2 * p.log())
    torch.testing.assert_close(negative_focal(logits), -0.75 * p**2 * (1 - p).log())
    torch.testing.assert_close(positive_focal(logits, 0.3, 1.5), -0.3 * (1 - p) ** 1.5 * p.log())
    torch.testing.assert_close(negative_focal(logits, 0.3, 1.5), -0.7 * p**1.5 * (1 - p).log())


def test_half_certain_by_hand():
    zero = torch.zeros(1, dtype=torch.float64)
    ln2 = torch.tensor(2.0, dtype=torch.float64).log()
    torch.testing.assert_close(positive_focal(zero), 0.25 * 0.25 * ln2[None])
    torch.testing.assert_close(negative_focal(zero), 0.75 * 0.25 * ln2[None])


def test_extreme_scores_stay_finite():
    scores = torch.tensor([-200.0, 200.0], requires_grad=True)
    total = (positive_focal(scores) + negative_focal(scores)).sum()
    total.backward()
    assert total.isfinite() and scores.grad.isfinite().all()
    assert positive_focal(scores)[1] == 0 and negative_focal(scores)[0] == 0


def test_gaussian_focal_loss_is_its_formula(logits, generator):
    heat = torch.rand(200, generator=generator, dtype=torch.float64)
    heat[::7] = 1
    p = logits.sigmoid()
    at_peak = -((1 - p) ** 2) * p.log()
    elsewhere = -((1 - heat) ** 4) * p**2 * (1 - p).log()
    torch.testing.assert_close(gaussian_focal(logits, heat), torch.where(heat == 1, at_peak, elsewhere).sum())


def test_smooth_l1_by_hand():
    predicted = torch.tensor([0.0, 0.05, -1.0], dtype=torch.float64)
    beta = 1 / 9
    expected = 0.5 * 0.05**2 / beta + 1 - beta / 2
    torch.testing.assert_close(smooth_l1(predicted, torch.zeros_like(predicted)), torch.tensor(expected).double())


@pytest.mark.parametrize("loss", [positive_focal, negative_focal, lambda x: smooth_l1(x, torch.zeros_like(x))])
def test_gradients(loss, logits):
    assert torch.autograd.gradcheck(loss, (logits[:20].detach().requires_grad_(),))
