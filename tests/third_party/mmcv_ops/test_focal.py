import pytest
import torch
from mmcv_ops.focal import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)

GAMMA, ALPHA = 2.0, 0.25


def logits(rows=9, classes=4):
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3


@pytest.mark.parametrize("weighted", [False, True])
def test_sigmoid_by_definition(weighted):
    x = logits().requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 4, 0, 1, 4, 4])
    weight = torch.tensor([1.0, 2, 3, 4], dtype=torch.float64) if weighted else x.new_empty(0)
    hot = torch.nn.functional.one_hot(target, 5)[:, :4].bool()
    p = torch.where(hot, x.sigmoid(), 1 - x.sigmoid())
    direct = -torch.where(hot, ALPHA, 1 - ALPHA) * (1 - p) ** GAMMA * p.log()
    if weighted:  # by the class of the row, the background counts once
        direct = direct * torch.cat([weight, weight.new_ones(1)])[target][:, None]
    out, grad = torch.zeros_like(x), torch.zeros_like(x)
    sigmoid_focal_loss_forward(x.detach(), target, weight, out, gamma=GAMMA, alpha=ALPHA)
    torch.testing.assert_close(out, direct.detach())
    sigmoid_focal_loss_backward(x.detach(), target, weight, grad, gamma=GAMMA, alpha=ALPHA)
    torch.testing.assert_close(grad, torch.autograd.grad(direct.sum(), x)[0])


@pytest.mark.parametrize("weighted", [False, True])
def test_softmax_by_definition(weighted):
    x = logits().requires_grad_()
    target = torch.tensor([0, 1, 2, 3, -1, 0, 1, 2, -1])
    weight = torch.tensor([1.0, 2, 3, 4], dtype=torch.float64) if weighted else x.new_empty(0)
    p = x.softmax(1)[torch.arange(9), target.clamp(min=0)]
    direct = -ALPHA * (1 - p) ** GAMMA * p.log() * (target >= 0)
    if weighted:
        direct = direct * weight[target.clamp(min=0)]
    soft, out, buff, grad = x.detach().softmax(1), x.new_zeros(9), x.new_zeros(9), torch.zeros_like(x)
    softmax_focal_loss_forward(soft, target, weight, out, gamma=GAMMA, alpha=ALPHA)
    torch.testing.assert_close(out, direct.detach())
    softmax_focal_loss_backward(soft, target, weight, buff, grad, gamma=GAMMA, alpha=ALPHA)
    torch.testing.assert_close(grad, torch.autograd.grad(direct.sum(), x)[0])


@pytest.mark.parametrize("run", [sigmoid_focal_loss_forward, sigmoid_focal_loss_backward])
def test_extreme_and_empty(run):
    x, out = torch.tensor([[200.0, -200.0]]), torch.zeros(1, 2)
    run(x, torch.tensor([1]), x.new_empty(0), out, gamma=GAMMA, alpha=ALPHA)
    assert out.isfinite().all()
    run(x[:0], torch.tensor([], dtype=torch.long), x.new_empty(0), out[:0], gamma=GAMMA, alpha=ALPHA)
