"""Inputs for every operator, to run it here and in a compiled mmcv."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Case = Callable[[torch.Generator], Arguments]

#: A case by operator; tensors among its arguments are compared after the call, and so is what it returns.
CASES: dict[str, Case] = {}
#: Operators whose rows come in an order of no meaning: whole models compare these.
THROUGH_MODELS = {
    "get_indice_pairs_2d_forward": "order of new cells",
    "get_indice_pairs_3d_forward": "order of new cells",
    "knn_forward": "order of equal distances",
    "diff_iou_rotated_sort_vertices_forward": "where a polygon starts",
}


def _case(name: str) -> Callable[[Case], Case]:
    def enter(case: Case) -> Case:
        CASES[name] = case
        return case

    return enter


def _rand(g: torch.Generator, *shape: int, scale: Any = 1.0, low: Any = 0.0) -> Tensor:
    return torch.rand(*shape, generator=g) * torch.as_tensor(scale) + torch.as_tensor(low)


def _upright(g: torch.Generator, rows: int) -> Tensor:
    corner = _rand(g, rows, 2, scale=100.0)
    return torch.cat([corner, corner + _rand(g, rows, 2, scale=30.0, low=1.0)], 1)


def _turned(g: torch.Generator, rows: int) -> Tensor:
    return _rand(g, rows, 5, scale=[60.0, 60, 4, 2, 6], low=[0, 0, 1.0, 0.5, -3])


def _boxes(g: torch.Generator, *shape: int) -> Tensor:
    return _rand(g, *shape, 7, scale=[20.0, 20, 2, 4, 2, 1.5, 6], low=[0, 0, -1.0, 1, 1, 1, -3])


def _cloud(g: torch.Generator, *shape: int) -> Tensor:
    return _rand(g, *shape, 3, scale=[20.0, 20, 4], low=[0, 0, -1.0])


def _int(*shape: int, fill: int = 0) -> Tensor:
    return torch.full(shape, fill, dtype=torch.int32)


def _index(g: torch.Generator, below: int, *shape: int) -> Tensor:
    return torch.randint(below, shape, generator=g, dtype=torch.int32)


@_case("nms")
def _(g: torch.Generator) -> Arguments:
    return (_upright(g, 1000), _rand(g, 1000)), dict(iou_threshold=0.3, offset=0)


@_case("softnms")
def _(g: torch.Generator) -> Arguments:
    given = dict(iou_threshold=0.3, sigma=0.5, min_score=1e-3, method=1, offset=0)
    return (_upright(g, 200), _rand(g, 200), torch.zeros(200, 5)), given


@_case("nms_match")
def _(g: torch.Generator) -> Arguments:
    return (torch.cat([_upright(g, 200), _rand(g, 200, 1)], 1),), dict(iou_threshold=0.3)


@_case("nms_rotated")
def _(g: torch.Generator) -> Arguments:
    boxes, scores = _turned(g, 1000), _rand(g, 1000)
    order = scores.argsort(descending=True)
    return (boxes, scores, order, boxes[order], torch.zeros(0, dtype=torch.int32), 0.1, 0), {}


@_case("box_iou_rotated")
def _(g: torch.Generator) -> Arguments:
    return (_turned(g, 300), _turned(g, 200), torch.zeros(60000)), dict(mode_flag=0, aligned=False)


@_case("bbox_overlaps")
def _(g: torch.Generator) -> Arguments:
    return (_upright(g, 300), _upright(g, 200), torch.zeros(300, 200)), dict(mode=0, aligned=False, offset=0)


@_case("iou3d_boxes_overlap_bev_forward")
def _(g: torch.Generator) -> Arguments:
    return (_boxes(g, 100), _boxes(g, 80), torch.zeros(100, 80)), {}


def _nms3d(g: torch.Generator) -> Arguments:
    given = _boxes(g, 500), torch.zeros(500, dtype=torch.long), torch.zeros((), dtype=torch.long)
    return given, dict(nms_overlap_thresh=0.1)


CASES["iou3d_nms3d_forward"] = CASES["iou3d_nms3d_normal_forward"] = _nms3d


@_case("hard_voxelize_forward")
def _(g: torch.Generator) -> Arguments:
    points = torch.cat([_cloud(g, 20000), _rand(g, 20000, 1)], 1)
    grid = torch.tensor([0.16, 0.16, 4]), torch.tensor([0.0, 0, -1, 19.2, 19.2, 3])
    out = torch.zeros(9000, 8, 4), _int(9000, 3), _int(9000), torch.zeros((), dtype=torch.long)
    return (points, *grid, *out), dict(max_points=8, max_voxels=9000, NDim=3, deterministic=True)


@_case("dynamic_voxelize_forward")
def _(g: torch.Generator) -> Arguments:
    grid = torch.tensor([0.2, 0.2, 0.5]), torch.tensor([1.0, 1, -0.5, 19, 19, 2.5])
    return (_cloud(g, 20000), *grid, _int(20000, 3)), dict(NDim=3)


@_case("dynamic_point_to_voxel_forward")
def _(g: torch.Generator) -> Arguments:
    return (_rand(g, 5000, 8), _index(g, 12, 5000, 3) - 1, "max"), {}


@_case("dynamic_point_to_voxel_backward")
def _(g: torch.Generator) -> Arguments:
    from mmcv_ops.scatter import dynamic_point_to_voxel_forward

    feats = _rand(g, 5000, 8)
    reduced, _, row, count = dynamic_point_to_voxel_forward(feats, _index(g, 12, 5000, 3) - 1, "max")
    return (torch.zeros_like(feats), torch.rand(reduced.shape, generator=g), feats, reduced, row, count, "max"), {}


@_case("points_in_boxes_cpu_forward")
def _(g: torch.Generator) -> Arguments:
    return (_boxes(g, 40), _cloud(g, 20000), _int(40, 20000)), {}


@_case("points_in_boxes_part_forward")
def _(g: torch.Generator) -> Arguments:
    return (_boxes(g, 2, 40), _cloud(g, 2, 5000), _int(2, 5000, fill=-1)), {}


@_case("points_in_boxes_all_forward")
def _(g: torch.Generator) -> Arguments:
    return (_boxes(g, 2, 40), _cloud(g, 2, 5000), _int(2, 5000, 40)), {}


@_case("ball_query_forward")
def _(g: torch.Generator) -> Arguments:
    sizes = dict(b=2, n=4000, m=300, min_radius=0.0, max_radius=1.0, nsample=16)
    return (_cloud(g, 2, 300), _cloud(g, 2, 4000), _int(2, 300, 16)), sizes


@_case("stack_ball_query_forward")
def _(g: torch.Generator) -> Arguments:
    given = _cloud(g, 300), torch.tensor([100, 200]).int(), _cloud(g, 5000), torch.tensor([2000, 3000]).int()
    return (*given, _int(300, 16)), dict(max_radius=1.0, nsample=16)


@_case("three_nn_forward")
def _(g: torch.Generator) -> Arguments:
    given = _cloud(g, 2, 3000), _cloud(g, 2, 500), torch.zeros(2, 3000, 3), _int(2, 3000, 3)
    return given, dict(b=2, n=3000, m=500)


@_case("furthest_point_sampling_forward")
def _(g: torch.Generator) -> Arguments:
    return (_cloud(g, 2, 2048), torch.full((2, 2048), 1e10), _int(2, 256)), dict(b=2, n=2048, m=256)


@_case("furthest_point_sampling_with_dist_forward")
def _(g: torch.Generator) -> Arguments:
    x = _rand(g, 2, 512, 8)
    return (torch.cdist(x, x), torch.full((2, 512), 1e10), _int(2, 64)), dict(b=2, n=512, m=64)


@_case("gather_points_forward")
def _(g: torch.Generator) -> Arguments:
    sizes = dict(b=2, c=8, n=500, npoints=100)
    return (_rand(g, 2, 8, 500), _index(g, 500, 2, 100), torch.zeros(2, 8, 100)), sizes


@_case("gather_points_backward")
def _(g: torch.Generator) -> Arguments:
    sizes = dict(b=2, c=8, n=500, npoints=100)
    return (_rand(g, 2, 8, 100), _index(g, 500, 2, 100), torch.zeros(2, 8, 500)), sizes


@_case("group_points_forward")
def _(g: torch.Generator) -> Arguments:
    sizes = dict(b=2, c=8, n=500, npoints=100, nsample=16)
    return (_rand(g, 2, 8, 500), _index(g, 500, 2, 100, 16), torch.zeros(2, 8, 100, 16)), sizes


@_case("group_points_backward")
def _(g: torch.Generator) -> Arguments:
    sizes = dict(b=2, c=8, n=500, npoints=100, nsample=16)
    return (_rand(g, 2, 8, 100, 16), _index(g, 500, 2, 100, 16), torch.zeros(2, 8, 500)), sizes


@_case("stack_group_points_forward")
def _(g: torch.Generator) -> Arguments:
    counts, centres = torch.tensor([300, 400]).int(), torch.tensor([40, 60]).int()
    given = _rand(g, 700, 8), counts, _index(g, 300, 100, 16), centres, torch.zeros(100, 8, 16)
    return given, dict(b=2, m=100, c=8, nsample=16)


@_case("stack_group_points_backward")
def _(g: torch.Generator) -> Arguments:
    counts, centres = torch.tensor([300, 400]).int(), torch.tensor([40, 60]).int()
    given = _rand(g, 100, 8, 16), _index(g, 300, 100, 16), centres, counts, torch.zeros(700, 8)
    return given, dict(b=2, c=8, m=100, n=700, nsample=16)


@_case("three_interpolate_forward")
def _(g: torch.Generator) -> Arguments:
    given = _rand(g, 2, 8, 200), _index(g, 200, 2, 900, 3), _rand(g, 2, 900, 3), torch.zeros(2, 8, 900)
    return given, dict(b=2, c=8, m=200, n=900)


@_case("three_interpolate_backward")
def _(g: torch.Generator) -> Arguments:
    given = _rand(g, 2, 8, 900), _index(g, 200, 2, 900, 3), _rand(g, 2, 900, 3), torch.zeros(2, 8, 200)
    return given, dict(b=2, c=8, n=900, m=200)


@_case("roipoint_pool3d_forward")
def _(g: torch.Generator) -> Arguments:
    return (_cloud(g, 2, 4000), _boxes(g, 2, 30), _rand(g, 2, 4000, 8), torch.zeros(2, 30, 64, 11), _int(2, 30)), {}


def _roiaware(g: torch.Generator, method: int = 0) -> list[Tensor]:
    return [_boxes(g, 30), _cloud(g, 4000), _rand(g, 4000, 8), _int(30, 4, 4, 4, 8), _int(30, 4, 4, 4, 16)]


@_case("roiaware_pool3d_forward")
def _(g: torch.Generator) -> Arguments:
    return (*_roiaware(g), torch.zeros(30, 4, 4, 4, 8)), dict(pool_method=0)


@_case("roiaware_pool3d_backward")
def _(g: torch.Generator) -> Arguments:
    from mmcv_ops.roi_points import roiaware_pool3d_forward

    boxes, points, features, argmax, table = _roiaware(g)
    roiaware_pool3d_forward(boxes, points, features, argmax, table, torch.zeros(30, 4, 4, 4, 8), 0)
    return (table, argmax, _rand(g, 30, 4, 4, 4, 8), torch.zeros(4000, 8)), dict(pool_method=0)


def _roi_align(g: torch.Generator) -> tuple[Tensor, Tensor, dict[str, Any]]:
    boxes = torch.cat([torch.randint(2, (30, 1), generator=g).float(), _upright(g, 30)], 1)
    sizes = dict(aligned_height=7, aligned_width=7, spatial_scale=0.25, sampling_ratio=0, pool_mode=1, aligned=True)
    return _rand(g, 2, 8, 32, 32), boxes, sizes


@_case("roi_align_forward")
def _(g: torch.Generator) -> Arguments:
    images, boxes, sizes = _roi_align(g)
    return (images, boxes, torch.zeros(30, 8, 7, 7), torch.zeros(0), torch.zeros(0)), sizes


@_case("roi_align_backward")
def _(g: torch.Generator) -> Arguments:
    images, boxes, sizes = _roi_align(g)
    return (_rand(g, 30, 8, 7, 7), boxes, torch.zeros(0), torch.zeros(0), torch.zeros_like(images)), sizes


def _sigmoid(g: torch.Generator) -> Arguments:
    given = _rand(g, 500, 4, scale=8.0, low=-4.0), torch.randint(5, (500,), generator=g), torch.zeros(0)
    return (*given, torch.zeros(500, 4)), dict(gamma=2.0, alpha=0.25)


CASES["sigmoid_focal_loss_forward"] = CASES["sigmoid_focal_loss_backward"] = _sigmoid


@_case("softmax_focal_loss_forward")
def _(g: torch.Generator) -> Arguments:
    given = _rand(g, 500, 4).softmax(1), torch.randint(4, (500,), generator=g), torch.zeros(0)
    return (*given, torch.zeros(500)), dict(gamma=2.0, alpha=0.25)


@_case("softmax_focal_loss_backward")
def _(g: torch.Generator) -> Arguments:
    given = _rand(g, 500, 4).softmax(1), torch.randint(4, (500,), generator=g), torch.zeros(0)
    return (*given, torch.zeros(500), torch.zeros(500, 4)), dict(gamma=2.0, alpha=0.25)


def _pairs(g: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, output cells, pairs and their numbers of a strided convolution."""
    from mmcv_ops.sparse import get_indice_pairs_3d_forward

    ids = torch.randperm(20 * 20 * 8, generator=g)[:800]
    cells = torch.stack([torch.zeros_like(ids), ids // 400, ids // 20 % 20, ids % 20], 1).int()
    three, two, one = [3, 3, 3], [2, 2, 2], [1, 1, 1]
    out, table, count = get_indice_pairs_3d_forward(
        cells, 1, [4, 10, 10], [8, 20, 20], three, two, one, one, [0, 0, 0], 0, 0
    )
    return _rand(g, 800, 8), out, table, count


@_case("indice_conv_forward")
def _(g: torch.Generator) -> Arguments:
    x, out, table, count = _pairs(g)
    return (x, _rand(g, 3, 3, 3, 8, 16), table, count, out.size(0), 0, 0), {}


@_case("fused_indice_conv_forward")
def _(g: torch.Generator) -> Arguments:
    x, out, table, count = _pairs(g)
    return (x, _rand(g, 3, 3, 3, 8, 16), _rand(g, 16), table, count, out.size(0), 0, 0), {}


@_case("indice_conv_backward")
def _(g: torch.Generator) -> Arguments:
    x, out, table, count = _pairs(g)
    return (x, _rand(g, 3, 3, 3, 8, 16), _rand(g, out.size(0), 16), table, count, 0, 0), {}


@_case("indice_maxpool_forward")
def _(g: torch.Generator) -> Arguments:
    x, out, table, count = _pairs(g)
    return (x, table, count, out.size(0)), {}


@_case("indice_maxpool_backward")
def _(g: torch.Generator) -> Arguments:
    from mmcv_ops.sparse import indice_maxpool_forward

    x, out, table, count = _pairs(g)
    y = indice_maxpool_forward(x, table, count, out.size(0))
    return (x, y, torch.rand(y.shape, generator=g), table, count), {}
