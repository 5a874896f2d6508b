import math

import pytest
import torch
from mmcv_ops.boxes import inside
from mmcv_ops.roi_points import roiaware_pool3d_backward, roiaware_pool3d_forward, roipoint_pool3d_forward

BOXES = torch.tensor([[2.0, 2, 0, 3, 2, 2, 0.4], [6, 6, 1, 2, 4, 2, -1], [50, 50, 0, 1, 1, 1, 0]])
CELLS, ROOM = (2, 3, 2), 4


def scene(seed=0, points=150, channels=3):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(points, 3, generator=generator) * torch.tensor([8.0, 8, 3])
    return x, torch.randn(points, channels, generator=generator)


@pytest.mark.parametrize("size", [4, 200])
def test_points_of_boxes_by_definition(size):
    x, features = scene()
    pooled, empty = torch.zeros(1, 3, size, 6), torch.zeros(1, 3, dtype=torch.int32)
    roipoint_pool3d_forward(x[None], BOXES[None], features[None], pooled, empty)
    assert empty.tolist() == [[0, 0, 1]]
    assert not pooled[0, 2].any()
    for box in range(2):
        rows = inside(x, BOXES[box : box + 1]).squeeze(1).nonzero().squeeze(1).tolist()
        assert len(rows) > 4
        chosen = [rows[i % len(rows)] for i in range(size)]
        assert torch.equal(pooled[0, box], torch.cat([x[chosen], features[chosen]], 1))


def test_no_points_and_no_boxes():
    x, features = scene()
    pooled, empty = torch.zeros(1, 3, 4, 6), torch.zeros(1, 3, dtype=torch.int32)
    roipoint_pool3d_forward(x[None, :0], BOXES[None], features[None, :0], pooled, empty)
    assert empty.all() and not pooled.any()
    roipoint_pool3d_forward(x[None], BOXES[None, :0], features[None], pooled[:, :0], empty[:, :0])


def cell_rows(x):
    """Rows of the points in each cell of each box, by the definition."""
    found = {}
    for b, (bx, by, bz, length, width, height, yaw) in enumerate(BOXES.double().tolist()):
        for row in inside(x, BOXES[b : b + 1]).squeeze(1).nonzero().squeeze(1).tolist():
            dx, dy, dz = (p - q for p, q in zip(x[row].double().tolist(), (bx, by, bz)))
            u, v = dx * math.cos(yaw) + dy * math.sin(yaw), dy * math.cos(yaw) - dx * math.sin(yaw)
            local, sizes = (u + length / 2, v + width / 2, dz), (length, width, height)
            cell = tuple(min(int(p / (s / n)), n - 1) for p, s, n in zip(local, sizes, CELLS))
            found.setdefault((b, *cell), []).append(row)
    return {cell: rows[: ROOM - 1] for cell, rows in found.items()}


@pytest.mark.parametrize("method", [0, 1])
def test_cells_of_boxes_by_definition(method):
    x, features = scene()
    features = features.double().requires_grad_()
    direct, expected = torch.zeros(3, *CELLS, 3, dtype=torch.float64), cell_rows(x)
    assert max(map(len, expected.values())) == ROOM - 1
    for cell, rows in expected.items():
        direct[cell] = features[rows].amax(0) if method == 0 else features[rows].mean(0)
    argmax = torch.zeros(3, *CELLS, 3, dtype=torch.int32)
    table = torch.zeros(3, *CELLS, ROOM, dtype=torch.int32)
    pooled = torch.zeros(3, *CELLS, 3, dtype=torch.float64)
    roiaware_pool3d_forward(BOXES, x, features.detach(), argmax, table, pooled, pool_method=method)
    torch.testing.assert_close(pooled, direct.detach())
    assert {cell: table[cell][1 : 1 + table[cell][0]].tolist() for cell in expected} == expected
    assert table[..., 0].sum() == sum(map(len, expected.values()))
    if method == 0:
        assert (argmax[2] == -1).all()
    weight = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (direct * weight).sum().backward()
    grad = torch.zeros_like(features)
    roiaware_pool3d_backward(table, argmax, weight, grad, pool_method=method)
    torch.testing.assert_close(grad, features.grad)


@pytest.mark.parametrize("method", [0, 1])
def test_cells_without_any_point(method):
    x, features = scene()
    argmax, table = torch.zeros(3, *CELLS, 3, dtype=torch.int32), torch.zeros(3, *CELLS, ROOM, dtype=torch.int32)
    pooled = torch.zeros(3, *CELLS, 3)
    roiaware_pool3d_forward(BOXES, x[:0], features[:0], argmax, table, pooled, pool_method=method)
    assert not pooled.any() and not table.any()
