"""Perturbations within a box."""

import torch

from structkd.distillers.adversarial import perturb


def test_a_linear_loss_is_pushed_to_the_corner_of_the_box():
    x, slope = torch.randn(3, 4, dtype=torch.float64), torch.tensor([1.0, -2.0, 3.0, -4.0], dtype=torch.float64)
    # The start may be anywhere in the box; eight steps of a quarter of its half width reach the other side.
    worst = perturb(x, lambda z: (z * slope).sum(), epsilon=0.1, steps=8)
    assert torch.allclose(worst, x + 0.1 * slope.sign())


def test_the_box_is_never_left():
    x = torch.randn(50, 6, dtype=torch.float64)
    moved = perturb(x, lambda z: z.sin().sum(), epsilon=0.3)
    assert float((moved - x).abs().max()) <= 0.3 + 1e-12
    assert bool((moved != x).any())


def test_no_steps_is_noise_from_the_box():
    x = torch.zeros(2000)
    noise = perturb(x, lambda z: z.sum(), epsilon=1.0, steps=0)
    assert float(noise.abs().max()) <= 1.0 and abs(float(noise.std()) - 3**-0.5) < 0.03


def test_parameters_keep_their_gradients_and_the_result_is_a_constant():
    weight = torch.randn(4, requires_grad=True)
    x = torch.randn(3, 4, requires_grad=True)
    worst = perturb(x, lambda z: (z @ weight).square().sum(), epsilon=0.1)
    assert weight.grad is None and x.grad is None and not worst.requires_grad


def test_works_where_gradients_are_off():
    with torch.no_grad():
        worst = perturb(torch.zeros(2), lambda z: z.sum(), epsilon=0.1, steps=8)
    assert torch.allclose(worst, torch.full((2,), 0.1))


def test_empty_features():
    assert perturb(torch.zeros(0, 4), lambda z: z.sum(), epsilon=0.1).shape == (0, 4)
