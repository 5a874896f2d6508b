"""Every backend of every op against the reference in float64, forward and backward.

Generated from what the ops declare: a new backend is tested as soon as it exists, and an op that has
several but no cases here fails `test_every_choice_has_cases`.
"""

import contextlib
import copy

import pytest
import torch

from structkd.backends import OPS, Backend
from structkd.ops import CSR, pieces, submanifold_rules
from structkd.ops.triton.launch import interpreted
from structkd.ops.voxels import cell_coords

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}

# edges [2, E], number of targets, number of sources
GRAPHS = {
    "odd sizes": lambda g: (_random_edges(g, 17, 13, 71), 13, 17),
    "multigraph with loops": lambda g: (_random_edges(g, 3, 3, 40), 3, 3),
    "isolated nodes": lambda g: (_random_edges(g, 4, 4, 9), 30, 30),
    "all edges to one node": lambda g: (torch.stack([torch.arange(9), torch.full((9,), 4)]), 9, 9),
    "one node, one loop": lambda g: (torch.zeros(2, 1, dtype=torch.long), 1, 1),
    "no edges": lambda g: (torch.zeros(2, 0, dtype=torch.long), 5, 3),
    "no nodes": lambda g: (torch.zeros(2, 0, dtype=torch.long), 0, 0),
}
CHANNELS = (1, 7, 32)
#: Triton's interpreter takes a tenth of a second for a kernel of this size: all dtypes on the first graph, then one.
FEW_CHANNELS, FEW_DTYPES = (7,), (torch.float32,)
KERNELS = "triton"
#: Ops whose result is not in the dtype of their inputs.
OWN_DTYPE = ("edge_difference", "edge_difference_kl", "info_nce", "rotated_intersection", "segment_kl")


def _random_edges(generator, num_src, num_dst, count):
    bounds = torch.tensor([[num_src], [num_dst]])
    return (torch.rand(2, count, generator=generator) * bounds).long()


def _normal(generator, dtype, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def _spmm(generator, dtype, edges, num_dst, num_src, channels):
    x = _normal(generator, dtype, num_src, channels)
    constant = torch.rand(edges.size(1), generator=generator, dtype=torch.float64).to(dtype)
    yield CSR.from_edges(edges, num_dst, num_src), x
    yield CSR.from_edges(edges, num_dst, num_src, constant), x
    yield CSR.from_edges(edges, num_dst, num_src), x, _normal(generator, dtype, edges.size(1))


def _edge_dot(generator, dtype, edges, num_dst, num_src, channels):
    a, b = _normal(generator, dtype, num_dst, channels), _normal(generator, dtype, num_src, channels)
    yield CSR.from_edges(edges, num_dst, num_src), a, b


def _segment(generator, dtype, edges, num_dst, num_src, channels):
    for shape in ((), (channels,), (2, channels)):
        yield _normal(generator, dtype, edges.size(1), *shape), edges[1], num_dst


def _segment_with_ties(generator, dtype, edges, num_dst, num_src, channels):
    yield from _segment(generator, dtype, edges, num_dst, num_src, channels)
    few = torch.randint(3, (edges.size(1), channels), generator=generator)
    yield few.to(dtype).requires_grad_(), edges[1], num_dst


def _edge_difference_kl(generator, dtype, edges, num_dst, num_src, channels):
    size = max(num_dst, num_src)
    z_s, z_t = _normal(generator, dtype, size, channels), _normal(generator, dtype, size, channels).detach()
    scale = torch.rand(edges.size(1), generator=generator, dtype=torch.float64).to(dtype)
    yield z_s, z_t, edges, 1.0, None
    yield z_s, z_t, edges, 0.5, scale


def _edge_difference(generator, dtype, edges, num_dst, num_src, channels):
    neighbors = 3 if num_src else 0
    index = (torch.rand(num_dst, neighbors, generator=generator) * num_src).long()
    u_s, u_t = (_normal(generator, dtype, num_src, channels) for _ in range(2))
    v_s, v_t = (_normal(generator, dtype, num_dst, channels) for _ in range(2))
    weight = torch.randint(3, (num_dst,), generator=generator).to(dtype)
    yield u_s, v_s, u_t, v_t, index, None
    yield u_s, v_s, u_t.detach(), v_t.detach(), index, weight


def _edge_square_distance(generator, dtype, edges, num_dst, num_src, channels):
    yield _normal(generator, dtype, max(num_dst, num_src), channels), edges


def _info_nce(generator, dtype, edges, num_dst, num_src, channels):
    x, y = (_normal(generator, dtype, num_dst, channels) for _ in range(2))
    yield x, y, 1.0
    yield x, y.detach(), 0.5


def _farthest_points(generator, dtype, edges, num_dst, num_src, channels):
    x = _normal(generator, dtype, num_dst + num_src, channels).detach()
    for count in (1, 5, num_dst + num_src):
        yield x, max(count, 1), [num_dst, num_dst + num_src]
        yield x.round(), max(count, 1), [num_dst, num_dst + num_src]


def _sparse_conv(generator, dtype, edges, num_dst, num_src, channels):
    cells = torch.unique(edges.flip(0).t(), dim=0)
    coords = torch.cat([torch.zeros_like(cells), cells], 1)
    rules = submanifold_rules(coords, (1, max(num_dst, 1), max(num_src, 1)), 1, (1, 3, 3))
    yield _normal(generator, dtype, len(cells), channels), _normal(generator, dtype, 1, 3, 3, channels, 4), rules


def _grouped_matmul(generator, dtype, edges, num_dst, num_src, channels):
    sizes = torch.bincount(edges[1], minlength=num_dst)
    for out_channels in (1, 8):
        weight = _normal(generator, dtype, num_dst, out_channels, channels)
        yield _normal(generator, dtype, edges.size(1), channels), weight, sizes


def _neighbor_max(generator, dtype, edges, num_dst, num_src, channels):
    if num_src:
        index = (torch.rand(num_dst, 3, generator=generator) * num_src).long()
        yield _normal(generator, dtype, num_src, channels), index


def _segment_softmax(generator, dtype, edges, num_dst, num_src, channels):
    yield _normal(generator, dtype, edges.size(1), 2, channels), edges[1], num_dst, False
    yield _normal(generator, dtype, edges.size(1)), edges[1], num_dst, True


def _segment_kl(generator, dtype, edges, num_dst, num_src, channels):
    p, q = (_normal(generator, dtype, edges.size(1)) for _ in range(2))
    yield p, q, edges[1], num_dst, None
    yield p.detach(), q, edges[1], num_dst, torch.randint(50, (num_dst,), generator=generator)


def _knn(generator, dtype, edges, num_dst, num_src, channels):
    # Whole numbers have the same distances in every dtype, many of them equal.
    x, y = (_normal(generator, dtype, rows, channels).detach().mul(2).round() for rows in (num_src, num_dst))
    batch_x, batch_y = (torch.arange(len(rows)) // 5 for rows in (x, y))
    yield x, y, 3, None, None, "euclidean", False, 8
    yield x, x, 20, batch_x, batch_x, "euclidean", True, 8
    wide = x.repeat(1, 36 // channels + 1)
    yield wide, wide[: len(y)], 4, batch_x, batch_y[: len(x)], "euclidean", False, 8


def _boxes(generator, rows):
    boxes = torch.rand(rows, 5, generator=generator, dtype=torch.float64) * torch.tensor([6, 6, 4, 2, 6])
    boxes[::4, 2] -= 1  # some of them empty
    return boxes


def _rotated_intersection(generator, dtype, edges, num_dst, num_src, channels):
    a, b = _boxes(generator, num_dst), _boxes(generator, num_dst)
    b[::3] = a[::3]
    yield a, b


def _nms(generator, dtype, edges, num_dst, num_src, channels):
    boxes = _boxes(generator, 5 * num_dst)
    boxes[:, 2:4] += boxes[:, :2]
    yield boxes[:, :4], 0.2, None
    yield boxes[:, :4], 0.2, torch.randint(3, (len(boxes),), generator=generator)


def _nms_rotated(generator, dtype, edges, num_dst, num_src, channels):
    yield _boxes(generator, 5 * num_dst), 0.2, None
    yield _boxes(generator, num_dst), 0.1, torch.randint(2, (num_dst,), generator=generator)


def _scatter_to_grid(generator, dtype, edges, num_dst, num_src, channels):
    for grid in ((1, 3, 5), (2, 3, 5)):
        ids = torch.randperm(2 * grid[0] * 15, generator=generator)[:num_dst]
        yield _normal(generator, dtype, len(ids), channels), cell_coords(ids, grid), 2, grid


def _cells_of_points(generator, dtype, edges, num_dst, num_src, channels):
    points = torch.randint(-3, 12, (edges.size(1), 4), generator=generator).to(dtype) / 2
    if len(points):
        points[0, 1] = float("nan")
    batch = torch.arange(len(points)) // 7
    yield points, batch, torch.tensor([0, 1, -1]).to(dtype), torch.tensor([0.5, 1, 2]).to(dtype), (2, 3, 8)


CASES = {
    "cells_of_points": _cells_of_points,
    "knn": _knn,
    "neighbor_max": _neighbor_max,
    "nms": _nms,
    "nms_rotated": _nms_rotated,
    "rotated_intersection": _rotated_intersection,
    "scatter_to_grid": _scatter_to_grid,
    "segment_kl": _segment_kl,
    "segment_softmax": _segment_softmax,
    "spmm": _spmm,
    "edge_dot": _edge_dot,
    "segment_sum": _segment,
    "segment_max": _segment_with_ties,
    "edge_difference": _edge_difference,
    "edge_difference_kl": _edge_difference_kl,
    "edge_square_distance": _edge_square_distance,
    "farthest_points": _farthest_points,
    "grouped_matmul": _grouped_matmul,
    "info_nce": _info_nce,
    "sparse_conv": _sparse_conv,
}


def test_every_choice_has_cases():
    assert {op.name for op in OPS.values() if len(op.backends) > 1} <= set(CASES) <= set(OPS)


def _in_double(argument):
    if isinstance(argument, torch.Tensor) and argument.is_floating_point():
        return argument.detach().double().requires_grad_(argument.requires_grad)
    return argument


def _run(backend, arguments):
    """Output and gradients; the output's gradient is fixed by its values' positions, the same for all dtypes."""
    out = backend.run(*arguments)
    if isinstance(out, tuple) or not out.is_floating_point():  # rows, and what goes with them
        return out, []
    learns = [a for a in arguments if isinstance(a, torch.Tensor) and a.requires_grad]
    cotangent = torch.linspace(-1, 1, out.numel() + 2, dtype=torch.float64)[1:-1].view_as(out).to(out.device)
    if not learns:
        return out, []
    gradients = torch.autograd.grad(out, learns, cotangent.to(out.dtype), allow_unused=True)
    return out, [torch.zeros_like(a) if g is None else g for a, g in zip(learns, gradients)]


@contextlib.contextmanager
def _at_hand(backend):
    """Kernels run under the interpreter where there is no GPU, and with pieces of a few entries, so that rows split."""
    if backend.name != KERNELS:
        yield
        return
    length, pieces.LENGTH = pieces.LENGTH, 5
    try:
        with contextlib.nullcontext() if torch.cuda.is_available() else interpreted():
            yield
    finally:
        pieces.LENGTH = length


def _moved(argument, device):
    if isinstance(argument, torch.Tensor):
        return argument.detach().to(device).requires_grad_(argument.requires_grad)
    if isinstance(argument, CSR):
        parts = (argument.rowptr, argument.col, argument.eid, argument.value)
        return CSR(*(None if part is None else part.to(device) for part in parts), argument.shape)
    return argument


def _strided(argument):
    """The same numbers, none of them side by side."""
    if not isinstance(argument, torch.Tensor) or argument.dim() == 0:
        return argument
    spread = torch.stack([argument.detach(), torch.zeros_like(argument)], -1)[..., 0]
    return spread.requires_grad_(argument.requires_grad)


def _compare(op, backend, arguments, dtype):
    """Runs a backend and the reference in float64; False if the backend cannot run."""
    on_gpu = backend.name == KERNELS and torch.cuda.is_available()
    with _at_hand(backend):
        given = [_moved(a, "cuda") for a in arguments] if on_gpu else copy.copy(arguments)
        if backend.why_not(*given):
            return False
        out, gradients = _run(backend, given)
    exact, exact_gradients = _run(op.backends[-1], [_in_double(a) for a in arguments])
    if isinstance(out, tuple):
        for got, expected in zip(out, exact, strict=True):
            torch.testing.assert_close(got.cpu().double(), expected.double(), rtol=0, atol=TOLERANCE[dtype] * 8)
        return True
    if not out.is_floating_point():
        assert torch.equal(out.cpu(), exact)
        return True
    assert out.dtype == dtype or op.name in OWN_DTYPE
    assert out.shape == exact.shape
    size = max(1.0, float(exact.detach().abs().max()) if exact.numel() else 1.0)
    torch.testing.assert_close(out.cpu().double(), exact, rtol=0, atol=TOLERANCE[dtype] * size)
    for got, expected in zip(gradients, exact_gradients, strict=True):
        size = max(1.0, float(expected.abs().max()) if expected.numel() else 1.0)
        assert got.dtype == dtype
        torch.testing.assert_close(got.cpu().double(), expected, rtol=0, atol=TOLERANCE[dtype] * size)
    return True


def _parts(out):
    return out if isinstance(out, tuple) else (out,)


def _slow(backend):
    return backend.name == KERNELS and not torch.cuda.is_available()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize(
    "op, backend", [(OPS[name], b) for name in CASES for b in OPS[name].backends], ids=lambda x: x.name
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_backend_agrees_with_reference(op, backend, graph, dtype, generator):
    with _at_hand(backend):
        if reasons := backend.why_not():
            pytest.skip("; ".join(reasons))
    if _slow(backend) and dtype not in FEW_DTYPES and graph != next(iter(GRAPHS)):
        pytest.skip("tested on one graph only")
    edges, num_dst, num_src = GRAPHS[graph](generator)
    ran = 0
    for channels in FEW_CHANNELS if _slow(backend) else CHANNELS:
        for arguments in CASES[op.name](generator, dtype, edges, num_dst, num_src, channels):
            ran += _compare(op, backend, arguments, dtype)
    if not ran:
        pytest.skip(f"{backend.name} takes no {dtype} on this graph")


@pytest.mark.parametrize(
    "op, backend", [(OPS[name], b) for name in CASES for b in OPS[name].backends], ids=lambda x: x.name
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_numbers_need_not_lie_side_by_side(op, backend, generator):
    with _at_hand(backend):
        if reasons := backend.why_not():
            pytest.skip("; ".join(reasons))
    edges, num_dst, num_src = GRAPHS["odd sizes"](generator)
    for dtype in (torch.float32, torch.float64):
        for arguments in CASES[op.name](generator, dtype, edges, num_dst, num_src, 4):
            if _compare(op, backend, [_strided(a) for a in arguments], dtype):
                return
    pytest.fail(f"{backend.name} took none of the cases")


@pytest.mark.parametrize("name", [name for name in CASES if OPS[name].has(KERNELS)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_kernels_give_the_same_bits_twice(name, generator):
    op = OPS[name]
    backend = op.find(KERNELS)
    with _at_hand(backend):
        if reasons := backend.why_not():
            pytest.skip("; ".join(reasons))
    edges, num_dst, num_src = GRAPHS["multigraph with loops"](generator)
    arguments = next(CASES[name](generator, torch.float32, edges, num_dst, num_src, 3))
    on_gpu = torch.cuda.is_available()
    with _at_hand(backend):
        given = [_moved(a, "cuda") for a in arguments] if on_gpu else arguments
        first, second = (_run(backend, given) for _ in range(2))
    for a, b in zip(*([*_parts(out), *gradients] for out, gradients in (first, second)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", [name for name in CASES if OPS[name].traced])
def test_traced_ops_do_what_others_do(name, generator):
    op = OPS[name]
    edges, num_dst, num_src = GRAPHS["odd sizes"](generator)
    arguments = next(CASES[name](generator, torch.float32, edges, num_dst, num_src, 4))
    torch._dynamo.reset()
    compiled = Backend("compiled", torch.compile(lambda *given: op(*given), backend="aot_eager", fullgraph=True))
    traced, plain = (_run(one, arguments) for one in (compiled, Backend("plain", op)))
    for one, other in zip(_parts(traced[0]), _parts(plain[0]), strict=True):
        assert torch.equal(one, other) and one.stride() == other.stride()
    for one, other in zip(traced[1], plain[1], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", [name for name in CASES if name != "grouped_matmul"])  # which is to be cast
def test_autocast_changes_nothing(name, generator):
    edges, num_dst, num_src = GRAPHS["odd sizes"](generator)
    arguments = next(CASES[name](generator, torch.float32, edges, num_dst, num_src, 8))
    plain = _run(OPS[name].select(*arguments), arguments)[0]
    with torch.autocast("cpu", torch.bfloat16):
        cast = _run(OPS[name].select(*arguments), arguments)[0]
    for a, b in zip(_parts(plain), _parts(cast), strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)
