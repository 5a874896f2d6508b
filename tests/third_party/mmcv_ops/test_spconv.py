"""spconv's own layers on the CPU, mended: against dense convolutions, with more than one thread."""

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("spconv", reason="spconv is not installed; SECOND runs without it")


@pytest.fixture(scope="module")
def spconv():
    from mmcv_ops.spconv_cpu import mend_spconv

    mend_spconv()
    import spconv.pytorch

    return spconv.pytorch


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


GRID = (12, 40, 40)


def scene(rows=3000):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randperm(12 * 40 * 40, generator=generator)[:rows]
    coords = torch.stack([torch.zeros_like(ids), *torch.unravel_index(ids, GRID)], 1).int()
    return coords, torch.randn(rows, 4, generator=generator)


@pytest.mark.parametrize("kind", ["submanifold", "strided"])
def test_layers_are_right(spconv, threads, kind):
    coords, values = scene()
    x = values.requires_grad_()
    if kind == "submanifold":
        layer, stride = spconv.SubMConv3d(4, 8, 3, padding=1, bias=False, algo=spconv.ConvAlgo.Native), 1
    else:
        layer, stride = spconv.SparseConv3d(4, 8, 3, 2, padding=1, bias=False, algo=spconv.ConvAlgo.Native), 2
    sparse = layer(spconv.SparseConvTensor(x, coords, GRID, 1))
    places = tuple(sparse.indices.long().t())
    full = x.new_zeros(1, *GRID, 4).index_put(tuple(coords.long().t()), x).permute(0, 4, 1, 2, 3)
    direct = F.conv3d(full, layer.weight.permute(0, 4, 1, 2, 3), stride=stride, padding=1).permute(0, 2, 3, 4, 1)[
        places
    ]
    torch.testing.assert_close(sparse.features, direct, atol=1e-4, rtol=1e-4)
    weight = torch.randn(direct.shape, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((sparse.features * weight).sum(), (x, layer.weight))
    for a, b in zip(ours, torch.autograd.grad((direct * weight).sum(), (x, layer.weight))):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_pooling_of_negative_features(spconv):
    coords, values = scene()
    out = spconv.SparseMaxPool3d(2, 2, algo=spconv.ConvAlgo.Native)(
        spconv.SparseConvTensor(values - 10, coords, GRID, 1)
    )
    full = values.new_full((1, *GRID, 4), -torch.inf).index_put(tuple(coords.long().t()), values - 10)
    direct = F.max_pool3d(full.permute(0, 4, 1, 2, 3), 2).permute(0, 2, 3, 4, 1)[tuple(out.indices.long().t())]
    torch.testing.assert_close(out.features, direct)
