"""Focal losses and their gradients, element by element.

Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmcv_ops.registry import operator

#: Smallest normal float32: what mmcv's kernels keep logarithms away from.
TINY = torch.finfo(torch.float32).tiny


@operator("sigmoid_focal_loss_forward")
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `output` [N, K] from logits [N, K], targets [N] (K for background) and class weights [K] or [0]."""
    p, positive = input.sigmoid(), _one_hot(target, input.size(1))
    loss = torch.where(
        positive,
        -alpha * (1 - p) ** gamma * _log(p),
        -(1 - alpha) * p**gamma * _log(1 - p),
    )
    output.copy_(loss * _weight_of(weight, target).unsqueeze(1))


@operator("sigmoid_focal_loss_backward")
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `grad_input` [N, K] with the derivatives of the loss by the logits."""
    p, positive = input.sigmoid(), _one_hot(target, input.size(1))
    grad = torch.where(
        positive,
        -alpha * (1 - p) ** gamma * (1 - p - gamma * p * _log(p)),
        -(1 - alpha) * p**gamma * (gamma * (1 - p) * _log(1 - p) - p),
    )
    grad_input.copy_(grad * _weight_of(weight, target).unsqueeze(1))


@operator("softmax_focal_loss_forward")
def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `output` [N] from probabilities [N, K], targets [N] (negative: no loss) and class weights [K] or [0]."""
    p = _picked(input, target)
    loss = -alpha * (1 - p) ** gamma * _log(p)
    output.copy_(torch.where(target >= 0, loss * _weight_of(weight, target), 0))


@operator("softmax_focal_loss_backward")
def softmax_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `grad_input` [N, K] with the derivatives by the logits, and `buff` [N] with their common factor."""
    p = _picked(input, target)
    factor = alpha * (gamma * (1 - p) ** (gamma - 1) * p * _log(p) - (1 - p) ** gamma)
    buff.copy_(torch.where(target >= 0, factor * _weight_of(weight, target), 0))
    grad_input.copy_(buff.unsqueeze(1) * (_one_hot(target, input.size(1)).to(input.dtype) - input))


def _log(p: Tensor) -> Tensor:
    return p.clamp(min=TINY).log()


def _one_hot(target: Tensor, classes: int) -> Tensor:
    return target.unsqueeze(1) == torch.arange(classes, device=target.device)


def _picked(input: Tensor, target: Tensor) -> Tensor:
    return input.gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)


def _weight_of(weight: Tensor, target: Tensor) -> Tensor:
    """Weight of each row's class; 1 without weights, and for the background, where mmcv reads beyond the end."""
    if weight.numel() == 0:
        return weight.new_ones(target.size(0))
    known = (target >= 0) & (target < weight.numel())
    return torch.where(known, weight[target.clamp(0, weight.numel() - 1)], 1)
