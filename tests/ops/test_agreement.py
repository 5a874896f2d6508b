"""Every backend of every op against the reference in float64, forward and backward.

Generated from what the ops declare: a new backend is tested as soon as it exists, and an op that has
several but no cases here fails `test_every_choice_has_cases`.
"""

import pytest
import torch

from structkd.backends import OPS
from structkd.ops import CSR, submanifold_rules

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


CASES = {
    "spmm": _spmm,
    "edge_dot": _edge_dot,
    "segment_sum": _segment,
    "segment_max": _segment_with_ties,
    "edge_difference": _edge_difference,
    "edge_difference_kl": _edge_difference_kl,
    "edge_square_distance": _edge_square_distance,
    "farthest_points": _farthest_points,
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
    if not out.is_floating_point():  # rows
        return out, []
    learns = [a for a in arguments if isinstance(a, torch.Tensor) and a.requires_grad]
    cotangent = torch.linspace(-1, 1, out.numel() + 2, dtype=torch.float64)[1:-1].view_as(out)
    gradients = torch.autograd.grad(out, learns, cotangent.to(out.dtype), allow_unused=True)
    return out, [torch.zeros_like(a) if g is None else g for a, g in zip(learns, gradients)]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize(
    "op, backend", [(OPS[name], b) for name in CASES for b in OPS[name].backends], ids=lambda x: x.name
)
def test_backend_agrees_with_reference(op, backend, graph, dtype, generator):
    if reasons := backend.why_not():
        pytest.skip("; ".join(reasons))
    edges, num_dst, num_src = GRAPHS[graph](generator)
    ran = 0
    for channels in CHANNELS:
        for arguments in CASES[op.name](generator, dtype, edges, num_dst, num_src, channels):
            if backend.why_not(*arguments):
                continue
            out, gradients = _run(backend, arguments)
            exact, exact_gradients = _run(op.backends[-1], [_in_double(a) for a in arguments])
            if not out.is_floating_point():
                assert torch.equal(out, exact)
                ran += 1
                continue
            assert out.dtype == dtype or op.name in ("edge_difference", "edge_difference_kl", "info_nce")
            assert out.shape == exact.shape
            size = max(1.0, float(exact.detach().abs().max()) if exact.numel() else 1.0)
            torch.testing.assert_close(out.double(), exact, rtol=0, atol=TOLERANCE[dtype] * size)
            for got, expected in zip(gradients, exact_gradients, strict=True):
                size = max(1.0, float(expected.abs().max()) if expected.numel() else 1.0)
                assert got.dtype == dtype
                torch.testing.assert_close(got.double(), expected, rtol=0, atol=TOLERANCE[dtype] * size)
            ran += 1
    if not ran:
        pytest.skip(f"{backend.name} takes no {dtype} on this graph")
