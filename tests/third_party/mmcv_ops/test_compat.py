"""What is mended beside the operators: weights in two layouts, KITTI's rotated IoU, packages, sparse to dense."""

import math

import numpy as np
import pytest
import torch
from mmcv_ops import packages
from mmcv_ops.dense import scatter_nd
from mmcv_ops.kitti_iou import rotate_iou_gpu_eval
from mmcv_ops.spconv_cpu import indice_conv, indice_conv_gradients
from mmcv_ops.weights import to_mmcv

SHAPE = (3, 3, 3, 4, 8)


def test_weights_come_in_mmcvs_layout():
    weight = torch.randn(SHAPE)
    spconv = weight.permute(4, 0, 1, 2, 3)
    assert torch.equal(to_mmcv(weight, SHAPE, None), weight)
    assert torch.equal(to_mmcv(spconv, SHAPE, None), weight)
    other = torch.randn(2, 2)
    assert to_mmcv(other, SHAPE, 2) is other  # left for torch to complain about


def test_where_the_layouts_look_alike_the_checkpoint_decides():
    weight = torch.randn(3, 3, 3, 3, 3)
    assert torch.equal(to_mmcv(weight.permute(4, 0, 1, 2, 3), tuple(weight.shape), 2), weight)
    assert torch.equal(to_mmcv(weight, tuple(weight.shape), None), weight)


@pytest.mark.parametrize("criterion", [-1, 0, 1, 2])
def test_kittis_rotated_iou(criterion):
    a = np.array([[0, 0, 4, 2, 0], [0, 0, 4, 2, math.pi / 2]], np.float32)
    b = np.array([[1, 0, 2, 2, 0], [10, 10, 2, 2, 0]], np.float32)
    shared = np.array([[4.0, 0], [2, 0]])
    area_a, area_b = np.array([[8.0], [8]]), np.array([[4.0, 4]])
    whole = {-1: area_a + area_b - shared, 0: area_a, 1: area_b, 2: 1}[criterion]
    found = rotate_iou_gpu_eval(a, b, criterion)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, shared / whole, rtol=1e-6)


def test_its_angles_turn_clockwise():
    long = np.array([[0, 0, 10, 0.2, math.pi / 4]], np.float64)
    below = np.array([[2, -2, 1, 1, 0]], np.float64)
    assert rotate_iou_gpu_eval(long, below, 2) > 0.1
    assert rotate_iou_gpu_eval(long, below * [1, -1, 1, 1, 1], 2) == 0
    assert rotate_iou_gpu_eval(long[:0], below).shape == (0, 1)


def test_packages_without_pkg_resources():
    assert packages.is_installed("torch") and packages.is_installed("scikit-learn")
    assert not packages.is_installed("no-such-package")
    assert packages.get_installed_path("scikit-learn").endswith("sklearn")
    assert packages.get_installed_path("structkd").endswith("structkd")
    assert packages.package2module("scikit-learn") == "sklearn"
    with pytest.raises(ModuleNotFoundError, match="no-such-package"):
        packages.get_installed_path("no-such-package")


def test_sparse_to_dense():
    places, rows = torch.tensor([[0, 1], [1, 2]]), torch.tensor([[1.0, 2], [3, 4]], requires_grad=True)
    out = scatter_nd(places, rows, [2, 3, 2])
    assert out[0, 1].tolist() == [1, 2] and out[1, 2].tolist() == [3, 4] and out.sum() == 10
    out.sum().backward()
    assert torch.equal(rows.grad, torch.ones(2, 2))
    assert scatter_nd(places[:0], rows[:0], [2, 3, 2]).shape == (2, 3, 2)


def test_spconvs_half_table_is_completed():
    """Three cells in a row and a kernel of three: spconv lists the first offset only."""
    x, filters = torch.randn(3, 2, dtype=torch.float64), torch.randn(5, 1, 1, 3, 2, dtype=torch.float64)
    pairs = torch.full((2, 3, 3), -1, dtype=torch.int32)
    pairs[0, 0, :2], pairs[1, 0, :2] = torch.tensor([0, 1]).int(), torch.tensor([1, 2]).int()
    given = dict(
        features=x, filters=filters, indice_pairs=pairs, indice_pair_num=torch.tensor([2, 0, 0]).int(),
        num_activate_out=3, subm=True,
    )  # fmt: skip
    leaf, weight = x.clone().requires_grad_(), filters.clone().requires_grad_()
    kernel = weight.permute(0, 4, 1, 2, 3).flatten(2)  # [Cout, Cin, 3]
    direct = torch.nn.functional.conv1d(leaf.t()[None], kernel, padding=1)[0].t()
    torch.testing.assert_close(indice_conv(given), direct.detach())
    grad = torch.randn_like(direct)
    (direct * grad).sum().backward()
    grad_x, grad_weight = indice_conv_gradients({**given, "out_bp": grad})
    torch.testing.assert_close(grad_x, leaf.grad)
    torch.testing.assert_close(grad_weight, weight.grad)
