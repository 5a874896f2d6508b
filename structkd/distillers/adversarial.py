"""Feature perturbations within a box that make a loss as large as a few gradient steps can."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def perturb(x: Tensor, loss: Callable[[Tensor], Tensor], epsilon: float, steps: int = 5) -> Tensor:
    """Projected gradient ascent on `loss` over inputs within `epsilon` of `x` (largest coordinate difference).

    Starts at a uniform draw from the box (torch's global generator), moves by `epsilon / 4` along the sign of the
    gradient and is clamped back to the box after each step. Parameters keep the gradients they have: only the
    perturbation is differentiated.

    Args:
        x: [N, F] dense features.
        loss: scalar loss of perturbed features.
        epsilon: half width of the box, in units of the features.
        steps: gradient steps; 0 gives plain uniform noise.

    Returns:
        [N, F] perturbed features, a constant to autograd.
    """
    x = x.detach()
    delta = torch.empty_like(x).uniform_(-epsilon, epsilon)
    with torch.enable_grad():
        for _ in range(steps):
            delta.requires_grad_()
            (gradient,) = torch.autograd.grad(loss(x + delta), delta)
            delta = (delta.detach() + epsilon / 4 * gradient.sign()).clamp(-epsilon, epsilon)
    return x + delta.detach()
