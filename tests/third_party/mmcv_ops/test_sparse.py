import pytest
import torch
from mmcv_ops import OPERATORS
from torch.nn import functional as F

GRID, SCENES = (6, 8, 7), 2


def run(name, *args):
    return OPERATORS[name].run(*args)


def cells(rows=60, seed=0):
    """[V, 4] int32 in no order, and features."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randperm(SCENES * 6 * 8 * 7, generator=generator)[:rows]
    coords = torch.stack(torch.unravel_index(ids, (SCENES, *GRID)), 1).int()
    return coords, torch.randn(rows, 3, generator=generator, dtype=torch.float64)


def pairs(coords, kernel, stride=(1, 1, 1), padding=(0, 0, 0), subm=0, dilation=(1, 1, 1), transpose=0):
    after = [(g + 2 * p - k) // s + 1 for g, p, k, s in zip(GRID, padding, kernel, stride)]
    shape = GRID if subm else after
    return run(
        "get_indice_pairs_3d_forward",
        *(coords, SCENES, shape, GRID, kernel, stride, padding, dilation, (0, 0, 0), subm, transpose),
    )


def dense(coords, x, grid):
    out = x.new_zeros(SCENES, *grid, x.size(1))
    return out.index_put(tuple(coords.long().t()), x).permute(0, 4, 1, 2, 3)


def weights(kernel, seed=5):
    return torch.randn(*kernel, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CASES = [
    ((3, 3, 3), (1, 1, 1), (0, 0, 0), 1),
    ((1, 3, 3), (1, 1, 1), (0, 0, 0), 1),
    ((3, 3, 3), (2, 2, 2), (1, 1, 1), 0),
    ((3, 1, 1), (2, 1, 1), (0, 0, 0), 0),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "subm"), CASES)
def test_convolution_against_the_dense_one(kernel, stride, padding, subm):
    coords, x = cells()
    out, table, count = pairs(coords, kernel, stride, padding, subm)
    assert (out.dtype, table.dtype, table.shape[1:]) == (torch.int32, torch.int32, (2, 60))
    assert bool((table[:, 0] >= 0).sum(1).eq(count).all())
    weight = weights(kernel).requires_grad_()
    leaf = x.clone().requires_grad_()
    pad = tuple(k // 2 for k in kernel) if subm else padding
    full = F.conv3d(dense(coords, leaf, GRID), weight.permute(4, 3, 0, 1, 2), stride=stride, padding=pad)
    direct = full.permute(0, 2, 3, 4, 1)[tuple(out.long().t())]
    y = run("indice_conv_forward", x, weight.detach(), table, count, out.size(0), 0, subm)
    torch.testing.assert_close(y, direct.detach())
    bias = torch.arange(4.0, dtype=torch.float64)
    fused = run("fused_indice_conv_forward", x, weight.detach(), bias, table, count, out.size(0), 0, subm)
    torch.testing.assert_close(fused, y + bias)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (direct * grad).sum().backward()
    grad_x, grad_weight = run("indice_conv_backward", x, weight.detach(), grad, table, count, 0, subm)
    torch.testing.assert_close(grad_x, leaf.grad)
    torch.testing.assert_close(grad_weight, weight.grad)


def test_submanifold_keeps_the_cells_in_their_order():
    coords, _ = cells()
    assert torch.equal(pairs(coords, (3, 3, 3), subm=1)[0], coords)


def test_inverse_goes_back_to_the_old_cells():
    coords, x = cells()
    out, table, count = pairs(coords, (3, 3, 3), (2, 2, 2), (1, 1, 1))
    y = torch.randn(out.size(0), 3, dtype=torch.float64).requires_grad_()
    weight = weights((3, 3, 3)).requires_grad_()
    back = run("indice_conv_forward", y.detach(), weight.detach(), table, count, x.size(0), 1, 0)
    after = [(g + 2 - 3) // 2 + 1 for g in GRID]
    full = F.conv_transpose3d(
        dense(out, y, after),
        weight.permute(3, 4, 0, 1, 2),
        stride=2,
        padding=1,
        output_padding=[(g - 1) % 2 for g in GRID],
    )
    direct = full.permute(0, 2, 3, 4, 1)[tuple(coords.long().t())]
    torch.testing.assert_close(back, direct.detach())
    direct.sum().backward()
    grad_y, grad_weight = run(
        "indice_conv_backward", y.detach(), weight.detach(), torch.ones_like(back), table, count, 1, 0
    )
    torch.testing.assert_close(grad_y, y.grad)
    torch.testing.assert_close(grad_weight, weight.grad)


def test_flat_grids():
    coords = torch.tensor([[0, 1, 2], [0, 0, 1], [0, 2, 2]]).int()
    out, table, count = run(
        "get_indice_pairs_2d_forward", coords, 1, [4, 4], [4, 4], [3, 3], [1, 1], [1, 1], [1, 1], [0, 0], 1, 0
    )
    assert torch.equal(out, coords) and table.shape == (9, 2, 3)
    x = torch.randn(3, 2, dtype=torch.float64)
    weight = torch.randn(3, 3, 2, 5, dtype=torch.float64)
    y = run("indice_conv_forward", x, weight, table, count, 3, 0, 1)
    image = x.new_zeros(1, 4, 4, 2).index_put(tuple(coords.long().t()), x).permute(0, 3, 1, 2)
    full = F.conv2d(image, weight.permute(3, 2, 0, 1), padding=1).permute(0, 2, 3, 1)
    torch.testing.assert_close(y, full[tuple(coords.long().t())])


def test_maximum_pooling_and_its_gradient():
    coords, x = cells()
    leaf = x.clone().requires_grad_()
    out, table, count = pairs(coords, (2, 2, 2), (2, 2, 2))
    lowest = dense(coords, leaf, GRID).masked_fill(dense(coords, torch.ones_like(x), GRID) == 0, -torch.inf)
    direct = F.max_pool3d(lowest, 2).permute(0, 2, 3, 4, 1)[tuple(out.long().t())]
    y = run("indice_maxpool_forward", x, table, count, out.size(0))
    torch.testing.assert_close(y, direct.detach())
    grad = torch.randn(y.shape, dtype=torch.float64)
    (direct * grad).sum().backward()
    torch.testing.assert_close(run("indice_maxpool_backward", x, y, grad, table, count), leaf.grad)


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("subm", [0, 1])
def test_few_cells(rows, subm):
    coords, x = cells()
    out, table, count = pairs(coords[:rows], (3, 3, 3), (1, 1, 1), (1, 1, 1), subm)
    y = run("indice_conv_forward", x[:rows], weights((3, 3, 3)), table, count, out.size(0), 0, subm)
    assert y.shape == (out.size(0), 4)
    run("indice_conv_backward", x[:rows], weights((3, 3, 3)), y, table, count, 0, subm)


def test_half_and_float32():
    coords, x = cells()
    _, table, count = pairs(coords, (3, 3, 3), subm=1)
    y = run("indice_conv_forward", x, weights((3, 3, 3)), table, count, 60, 0, 1)
    for dtype, error in ((torch.float32, 1e-5), (torch.float16, 2e-2)):
        low = run("indice_conv_forward", x.to(dtype), weights((3, 3, 3)).to(dtype), table, count, 60, 0, 1)
        assert low.dtype == dtype
        torch.testing.assert_close(low.double(), y, atol=error * 10, rtol=error)


@pytest.mark.parametrize("other", [dict(dilation=(2, 2, 2)), dict(transpose=1)])
def test_what_is_not_here_says_so(other):
    with pytest.raises(NotImplementedError, match="get_indice_pairs_3d_forward"):
        pairs(cells()[0], (3, 3, 3), **other)
