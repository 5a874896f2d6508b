import pytest
import torch
from torch import nn
from torch.nn import functional as F

from structkd.errors import ConfigError, DataError
from structkd.models.points import sparse
from structkd.models.points.sparse import (
    SparseConv3d,
    SparseInverseConv3d,
    SparseSequential,
    SparseTensor,
    SubMConv3d,
    convert_weight,
    spconv1_to_spconv2,
    spconv2_to_spconv1,
    weight_layout,
)
from structkd.ops.voxels import cell_coords

GRID = (4, 6, 8)


def _tensor(generator, count=60, channels=3, scenes=2):
    ids = torch.randperm(scenes * 4 * 6 * 8, generator=generator)[:count].sort().values
    return SparseTensor(torch.randn(count, channels, generator=generator), cell_coords(ids, GRID), GRID, scenes)


def _net():
    return SparseSequential(
        SparseSequential(SubMConv3d(3, 8, 3, indice_key="subm"), nn.BatchNorm1d(8), nn.ReLU()),
        SubMConv3d(8, 8, 3, indice_key="subm"),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        SparseConv3d(8, 16, 3, 2, 1, bias=True, indice_key="down"),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        SparseInverseConv3d(16, 4, 3, indice_key="down", bias=True),
    )


def test_dense_forms(generator):
    tensor = _tensor(generator)
    dense = tensor.dense()
    assert dense.shape == (2, 3, *GRID)
    scene, z, y, x = tensor.coords.unbind(1)
    assert torch.equal(dense[scene, :, z, y, x], tensor.x)
    assert int(dense.count_nonzero()) == tensor.x.numel()
    assert torch.equal(tensor.bev(), dense.flatten(1, 2))


def test_network_returns_to_its_cells_and_finds_rules_once(generator, monkeypatch):
    calls = []
    original = sparse.submanifold_rules
    monkeypatch.setattr(sparse, "submanifold_rules", lambda *a: calls.append(a) or original(*a))
    net, tensor = _net(), _tensor(generator)
    out = net(tensor)
    assert len(calls) == 1
    assert out.coords is tensor.coords and out.grid == GRID and out.x.shape == (60, 4)
    assert set(out.rules) == {"subm", "down"}
    out.x.square().sum().backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in net.parameters())
    # A second pass over the same tensor takes the rules that are there.
    net.eval()
    assert torch.equal(net(tensor).x, net(_tensor(torch.Generator().manual_seed(0))).x) and len(calls) == 2


def test_layers_are_dense_convolutions_with_bias(generator):
    tensor = _tensor(generator)
    layer = SparseConv3d(3, 5, (3, 1, 1), (2, 1, 1), bias=True)
    out = layer(tensor)
    dense = F.conv3d(tensor.dense(), layer.weight.permute(4, 3, 0, 1, 2), layer.bias, (2, 1, 1))
    scene, z, y, x = out.coords.unbind(1)
    torch.testing.assert_close(out.x, dense[scene, :, z, y, x])
    assert out.grid == (1, 6, 8) and out.bev().shape == (2, 5, 6, 8)


def test_permuted_scenes_give_permuted_results(generator):
    net, tensor = _net().eval(), _tensor(generator)
    swapped = tensor.coords.clone()
    swapped[:, 0] = 1 - swapped[:, 0]
    order = swapped[:, 0].argsort(stable=True)
    other = net(SparseTensor(tensor.x[order], swapped[order], GRID, 2))
    torch.testing.assert_close(other.x, net(tensor).x[order])


def test_scans_without_cells_leave_no_nan(generator):
    net = _net().train()
    for count in (0, 1):
        out = net(_tensor(generator, count))
        assert out.x.shape == (count, 4) and bool(out.x.isfinite().all())
        out.x.sum().backward()
    assert all(bool(buffer.isfinite().all()) for buffer in net.buffers())
    assert net(_tensor(generator, 0)).dense().shape == (2, 4, *GRID)


def test_keys_that_do_not_fit(generator):
    tensor = _tensor(generator)
    with pytest.raises(ConfigError, match=r"'a' holds rules for kernel \(3, 3, 3\).*a key of its own"):
        SparseSequential(SubMConv3d(3, 3, 3, indice_key="a"), SubMConv3d(3, 3, (1, 3, 3), indice_key="a"))(tensor)
    with pytest.raises(ConfigError, match="holds rules"):
        SparseSequential(SparseConv3d(3, 3, 3, 2, 1, indice_key="b"), SubMConv3d(3, 3, 3, indice_key="b"))(tensor)
    with pytest.raises(ConfigError, match="no layer has left rules under 'c'; there are"):
        SparseInverseConv3d(3, 3, 3, indice_key="c")(tensor)
    with pytest.raises(ConfigError, match="with this kernel onto these cells"):
        SparseInverseConv3d(3, 3, 3, indice_key="b")(tensor)
    with pytest.raises(ConfigError, match="one size or three"):
        SubMConv3d(3, 3, (3, 3))


def test_weight_layouts_invert_each_other(generator):
    weight = torch.randn(3, 1, 5, 4, 6, generator=generator)
    other = spconv1_to_spconv2(weight)
    assert other.shape == (6, 3, 1, 5, 4)
    assert other[5, 2, 0, 4, 3] == weight[2, 0, 4, 3, 5]
    assert torch.equal(spconv2_to_spconv1(other), weight)
    layer = SparseConv3d(4, 6, (3, 1, 5))
    assert torch.equal(convert_weight(weight, layer), weight) and torch.equal(convert_weight(other, layer), weight)


def test_layout_of_a_checkpoint():
    assert weight_layout((3, 3, 3, 16, 32), 16, 32, 3) == "spconv1"
    assert weight_layout((32, 3, 3, 3, 16), 16, 32, 3) == "spconv2"
    assert weight_layout((16, 3, 3, 3, 16), 16, 16, 3) == "spconv2"
    with pytest.raises(DataError, match="fits both layouts"):
        weight_layout((3, 3, 3, 3, 3), 3, 3, 3)
    with pytest.raises(DataError, match=r"\(3, 3, 3, 32, 16\).*fits neither layout.*\(3, 3, 3, 16, 32\) for spconv 1"):
        weight_layout((3, 3, 3, 32, 16), 16, 32, 3)
