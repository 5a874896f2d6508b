import pytest
import torch
from torch.nn import functional as F

from structkd.errors import ConfigError, DataError
from structkd.ops.sparse_conv import sparse_conv, strided_rules, submanifold_rules
from structkd.ops.voxels import cell_coords

GRID = (5, 7, 6)
KERNELS = [(3, 3, 3), (3, 1, 1), (1, 3, 3)]
STRIDES = [((2, 2, 2), (1, 1, 1)), ((2, 1, 1), (0, 0, 0)), ((1, 1, 1), (1, 1, 1)), ((3, 2, 1), (0, 1, 1))]


def _cells(generator, count=90, scenes=2, grid=GRID):
    total = scenes * grid[0] * grid[1] * grid[2]
    ids = torch.randperm(total, generator=generator)[:count].sort().values
    return cell_coords(ids, grid)


def _normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)


def _dense(x, coords, grid, scenes=2):
    scene, z, y, column = coords.unbind(1)
    cells = x.new_zeros(scenes, *grid, x.size(1)).index_put((scene, z, y, column), x)
    return cells.permute(0, 4, 1, 2, 3)


def _at(volume, coords):
    scene, z, y, column = coords.unbind(1)
    return volume.permute(0, 2, 3, 4, 1)[scene, z, y, column]


def _same(got, expected, *leaves):
    """Values and gradients for the same upstream gradient agree to 1e-10."""
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    upstream = torch.linspace(-1, 1, got.numel(), dtype=got.dtype).view_as(got)
    for mine, theirs in zip(*(torch.autograd.grad(out, leaves, upstream) for out in (got, expected))):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
def test_submanifold_is_dense_convolution_at_the_cells(generator, kernel):
    coords = _cells(generator)
    x, weight = _normal(generator, 90, 3), _normal(generator, *kernel, 3, 4)
    rules = submanifold_rules(coords, GRID, 2, kernel)
    dense = F.conv3d(_dense(x, coords, GRID), weight.permute(4, 3, 0, 1, 2), padding=[k // 2 for k in kernel])
    assert rules.out_coords is coords and rules.out_grid == GRID
    _same(sparse_conv(x, weight, rules), _at(dense, coords), x, weight)


@pytest.mark.parametrize("stride, padding", STRIDES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_strided_is_dense_convolution(generator, kernel, stride, padding):
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel))
    coords = _cells(generator)
    x, weight = _normal(generator, 90, 3), _normal(generator, *kernel, 3, 4)
    rules = strided_rules(coords, GRID, 2, kernel, stride, padding)
    dense = F.conv3d(_dense(x, coords, GRID), weight.permute(4, 3, 0, 1, 2), stride=stride, padding=padding)
    assert rules.out_grid == dense.shape[2:]
    y = sparse_conv(x, weight, rules)
    # Nowhere else has the dense one anything: all cells that an input reaches are there.
    _same(_dense(y, rules.out_coords, rules.out_grid), dense, x, weight)
    once = F.conv3d(_dense(torch.ones(90, 1), coords, GRID), torch.ones(1, 1, *kernel), None, stride, padding)
    assert rules.out_coords.size(0) == int((once > 0).sum())


@pytest.mark.parametrize("stride, padding", STRIDES)
def test_inverse_is_transposed_convolution_at_the_cells(generator, stride, padding):
    coords = _cells(generator)
    rules = strided_rules(coords, GRID, 2, (3, 3, 3), stride, padding)
    x, weight = _normal(generator, rules.out_coords.size(0), 4), _normal(generator, 3, 3, 3, 4, 2)
    extra = [size - ((n - 1) * s - 2 * p + 3) for size, n, s, p in zip(GRID, rules.out_grid, stride, padding)]
    coarse = _dense(x, rules.out_coords, rules.out_grid)
    dense = F.conv_transpose3d(coarse, weight.permute(3, 4, 0, 1, 2), None, stride, padding, extra)
    _same(sparse_conv(x, weight, rules.inverse()), _at(dense, coords), x, weight)
    again = rules.inverse().inverse()
    assert again.out_coords is rules.out_coords and again.pairs == rules.pairs


def test_gradcheck(generator):
    coords = _cells(generator, 12)
    rules = submanifold_rules(coords, GRID, 2, (3, 3, 3))
    x, weight = _normal(generator, 12, 2), _normal(generator, 3, 3, 3, 2, 2)
    assert torch.autograd.gradcheck(lambda x, weight: sparse_conv(x, weight, rules), (x, weight))


def test_hand_computed_row():
    coords = torch.tensor([[0, 0, 0, x] for x in (0, 1, 3)])
    x = torch.tensor([[1.0], [10.0], [100.0]])
    weight = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 3, 1, 1)
    same = submanifold_rules(coords, (1, 1, 4), 1, (1, 1, 3))
    assert sparse_conv(x, weight, same).flatten().tolist() == [2 + 30, 1 + 20, 200]
    half = strided_rules(coords, (1, 1, 4), 1, (1, 1, 3), (1, 1, 2), (0, 0, 1))
    assert half.out_coords[:, 3].tolist() == [0, 1]
    assert sparse_conv(x, weight, half).flatten().tolist() == [2 + 30, 10 + 300]


def test_scenes_do_not_touch():
    coords = torch.tensor([[0, 4, 6, 5], [1, 0, 0, 0]])  # neighbours by id only
    rules = submanifold_rules(coords, GRID, 2, (3, 3, 3))
    assert sum(before.numel() for before, _ in rules.pairs) == 2
    assert strided_rules(coords, GRID, 2, (3, 3, 3), (1, 1, 1), (1, 1, 1)).out_coords.size(0) == 16


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_dtypes(generator, dtype, tolerance):
    coords = _cells(generator)
    rules = submanifold_rules(coords, GRID, 2, (3, 3, 3))
    x, weight = (_normal(generator, *shape).detach().to(dtype) for shape in ((90, 3), (3, 3, 3, 3, 4)))
    x.requires_grad_(), weight.requires_grad_()
    got, exact = sparse_conv(x, weight, rules), sparse_conv(x.double(), weight.double(), rules)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), exact, rtol=0, atol=tolerance * float(exact.detach().abs().max()))
    for a, b in zip(torch.autograd.grad(got.sum(), (x, weight)), torch.autograd.grad(exact.sum(), (x, weight))):
        assert a.dtype == dtype
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * float(b.abs().max()))
    with torch.autocast("cpu", torch.bfloat16):
        assert sparse_conv(x.float(), weight.float(), rules).dtype == torch.float32


def test_same_on_any_number_of_threads(generator):
    grid = (2, 60, 60)
    coords = _cells(generator, 3000, 2, grid)
    x, weight = (t.detach().float() for t in (_normal(generator, 3000, 16), _normal(generator, 1, 3, 3, 16, 16)))
    upstream, found = torch.randn(3000, 16, generator=generator), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            down = sparse_conv(x, weight, strided_rules(coords, grid, 2, (1, 3, 3), (1, 2, 2), (0, 1, 1)))
            leaves = x.clone().requires_grad_(), weight.clone().requires_grad_()
            same = sparse_conv(*leaves, submanifold_rules(coords, grid, 2, (1, 3, 3)))
            found.append((down, same.detach(), *torch.autograd.grad(same, leaves, upstream)))
    finally:
        torch.set_num_threads(1)
    for one, two in zip(found[0][:3], found[1][:3]):
        assert torch.equal(one, two)
    # Inside the one product that makes a weight's gradient, torch may split the sum.
    torch.testing.assert_close(found[0][3], found[1][3], rtol=1e-4, atol=1e-4)


def test_no_cells(generator):
    coords = torch.zeros(0, 4, dtype=torch.long)
    weight = _normal(generator, 3, 3, 3, 2, 5)
    for rules in (
        submanifold_rules(coords, GRID, 2, (3, 3, 3)),
        strided_rules(coords, GRID, 2, (3, 3, 3), (2, 2, 2), (1, 1, 1)),
        strided_rules(coords, GRID, 2, (3, 3, 3), (2, 2, 2), (1, 1, 1)).inverse(),
    ):
        y = sparse_conv(torch.zeros(0, 2, dtype=torch.float64), weight, rules)
        assert y.shape == (0, 5)
        assert torch.autograd.grad(y.sum(), weight)[0].eq(0).all()


def test_bad_input(generator):
    coords = _cells(generator)
    rules = submanifold_rules(coords, GRID, 2, (3, 3, 3))
    with pytest.raises(DataError, match=r"expected \[90, Cin\]"):
        sparse_conv(torch.zeros(3, 2), torch.zeros(3, 3, 3, 2, 2), rules)
    with pytest.raises(DataError, match=r"\(2, 3, 3, 3, 2\); expected \[3, 3, 3, 2, 'Cout'\]"):
        sparse_conv(torch.zeros(90, 2), torch.zeros(2, 3, 3, 3, 2), rules)
    with pytest.raises(DataError, match="ascending order"):
        submanifold_rules(coords.flip(0), GRID, 2, (3, 3, 3))
    with pytest.raises(DataError, match="each cell once"):
        strided_rules(coords[[0, 0]], GRID, 2, (3, 3, 3), (1, 1, 1), (0, 0, 0))
    with pytest.raises(DataError, match="outside 1 scenes"):
        submanifold_rules(coords, GRID, 1, (3, 3, 3))
    with pytest.raises(DataError, match="int64"):
        submanifold_rules(coords.int(), GRID, 2, (3, 3, 3))
    with pytest.raises(ConfigError, match="expected odd"):
        submanifold_rules(coords, GRID, 2, (3, 2, 3))
    with pytest.raises(ConfigError, match="does not fit into the grid"):
        strided_rules(coords, GRID, 2, (7, 1, 1), (1, 1, 1), (0, 0, 0))
    with pytest.raises(ConfigError, match="expected 1, 1 and 0"):
        strided_rules(coords, GRID, 2, (3, 3, 3), (0, 1, 1), (0, 0, 0))
