import pytest
import torch
from mmcv_ops import OPERATORS


def run(name, *args, **kwargs):
    OPERATORS[name].run(*args, **kwargs)


def made(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def indices(*shape, below, seed=0):
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed)).int()


def loop(features, idx):
    """[B, C, ...] by one index after the other."""
    out = features.new_zeros(*idx.shape[:1], features.size(1), *idx.shape[1:])
    for b in range(idx.size(0)):
        for place in torch.cartesian_prod(*map(torch.arange, idx.shape[1:])).view(-1, idx.dim() - 1).tolist():
            out[(b, slice(None), *place)] = features[b, :, idx[(b, *place)]]
    return out


def compare(direct, leaf, out, backward, grad_shape):
    """`out` is what the loop gives, and `backward(grad_out, grad_in)` what autograd makes of the loop."""
    torch.testing.assert_close(out, direct.detach())
    weight = made(*out.shape, seed=9)
    (direct * weight).sum().backward()
    grad = torch.zeros(grad_shape, dtype=torch.float64)
    backward(weight, grad)
    torch.testing.assert_close(grad, leaf.grad)


def test_gather_points():
    features, idx = made(2, 3, 10).requires_grad_(), indices(2, 6, below=10)
    out = torch.zeros(2, 3, 6, dtype=torch.float64)
    sizes = dict(b=2, c=3, n=10, npoints=6)
    run("gather_points_forward", features.detach(), idx, out, **sizes)
    compare(
        loop(features, idx), features, out, lambda g, x: run("gather_points_backward", g, idx, x, **sizes), (2, 3, 10)
    )


def test_group_points():
    features, idx = made(2, 3, 10).requires_grad_(), indices(2, 4, 5, below=10)
    out = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    sizes = dict(b=2, c=3, n=10, npoints=4, nsample=5)
    run("group_points_forward", features.detach(), idx, out, **sizes)
    compare(
        loop(features, idx), features, out, lambda g, x: run("group_points_backward", g, idx, x, **sizes), (2, 3, 10)
    )


def test_three_interpolate():
    features, idx = made(2, 3, 10).requires_grad_(), indices(2, 7, 3, below=10)
    weight = made(2, 7, 3, seed=2).abs()
    out = torch.zeros(2, 3, 7, dtype=torch.float64)
    run("three_interpolate_forward", features.detach(), idx, weight, out, b=2, c=3, m=10, n=7)
    direct = (loop(features, idx) * weight[:, None]).sum(3)
    back = dict(b=2, c=3, n=7, m=10)
    compare(
        direct, features, out, lambda g, x: run("three_interpolate_backward", g, idx, weight, x, **back), (2, 3, 10)
    )


def test_stacked_groups():
    counts, centres = torch.tensor([6, 0, 4]).int(), torch.tensor([3, 0, 2]).int()
    features = made(10, 3).requires_grad_()
    idx = torch.cat([indices(3, 5, below=6), indices(2, 5, below=4)])
    idx[1, 0] = -1  # an empty ball
    start = torch.tensor([0, 0, 0, 6, 6])
    direct = torch.stack([features[idx[m].long().clamp(min=0) + start[m]].t() for m in range(5)])
    out = torch.zeros(5, 3, 5, dtype=torch.float64)
    run("stack_group_points_forward", features.detach(), counts, idx, centres, out, b=3, m=5, c=3, nsample=5)
    back = dict(b=3, c=3, m=5, n=10, nsample=5)
    compare(
        direct,
        features,
        out,
        lambda g, x: run("stack_group_points_backward", g, idx, centres, counts, x, **back),
        (10, 3),
    )


@pytest.mark.parametrize("points", [0, 1])
def test_few_points_non_contiguous_and_float32(points):
    features = made(2, 10, 3).float().transpose(1, 2)
    idx = indices(2, points, below=10)
    out = torch.zeros(2, 3, points)
    run("gather_points_forward", features, idx, out, b=2, c=3, n=10, npoints=points)
    assert torch.equal(out, loop(features, idx))
