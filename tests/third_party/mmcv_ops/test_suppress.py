import math

import pytest
import torch
from mmcv_ops.suppress import (
    iou3d_nms3d_forward,
    iou3d_nms3d_normal_forward,
    nms,
    nms_match,
    nms_rotated,
    softnms,
)

from structkd.ops.rotated_iou import rotated_iou


def boxes_of(rows=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(rows, 2, generator=generator) * 10
    sizes = torch.rand(rows, 2, generator=generator) * 5 + 0.5
    return torch.cat([corner, corner + sizes], 1), torch.rand(rows, generator=generator)


def turned_of(rows=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scale, low = torch.tensor([8.0, 8, 4, 2, 6]), torch.tensor([0, 0, 1, 0.5, -3])
    return torch.rand(rows, 5, generator=generator) * scale + low, torch.rand(rows, generator=generator)


def iou(a, b, offset):
    sides = [max(min(a[k + 2], b[k + 2]) - max(a[k], b[k]) + offset, 0.0) for k in (0, 1)]
    shared = sides[0] * sides[1]
    area = [(r[2] - r[0] + offset) * (r[3] - r[1] + offset) for r in (a, b)]
    return shared / (area[0] + area[1] - shared)


def greedy(order, overlap, threshold):
    kept = []
    for i in order:
        if all(overlap(k, i) <= threshold for k in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nms_by_definition(offset, dtype):
    boxes, scores = (part.to(dtype) for part in boxes_of())
    rows = boxes.double().tolist()
    order = scores.argsort(descending=True).tolist()
    expected = greedy(order, lambda i, j: iou(rows[i], rows[j], offset), 0.3)
    assert nms(boxes, scores, iou_threshold=0.3, offset=offset).tolist() == expected
    assert 1 < len(expected) < 40


def test_nms_of_none_and_one_and_non_contiguous():
    boxes, scores = boxes_of()
    assert nms(boxes[:0], scores[:0], 0.5, 0).tolist() == []
    assert nms(boxes[:1], scores[:1], 0.5, 0).tolist() == [0]
    wide = torch.cat([boxes, boxes], 1)[:, :4]
    assert torch.equal(nms(wide, scores, 0.5, 0), nms(boxes, scores, 0.5, 0))


@pytest.mark.parametrize("method", [0, 1, 2])
@pytest.mark.parametrize("offset", [0, 1])
def test_softnms_by_definition(method, offset):
    boxes, scores = boxes_of(15)
    dets = torch.zeros(15, 5)
    kept = softnms(
        boxes, scores, dets, iou_threshold=0.3, sigma=0.5, min_score=0.05, method=method, offset=offset
    ).tolist()
    left = dict(enumerate(scores.double().tolist()))
    rows, expected = boxes.double().tolist(), []
    while left:
        best = max(left, key=left.get)
        expected.append((best, left.pop(best)))
        for i in list(left):
            o = iou(rows[best], rows[i], offset)
            factor = math.exp(-o * o / 0.5) if method == 2 else (1 if o < 0.3 else 1 - o if method == 1 else 0)
            left[i] *= factor
            if left[i] < 0.05:
                del left[i]
    assert kept == [i for i, _ in expected]
    torch.testing.assert_close(dets[: len(kept), 4], torch.tensor([score for _, score in expected]))
    assert torch.equal(dets[: len(kept), :4], boxes[kept])
    assert softnms(boxes[:0], scores[:0], dets, 0.3, 0.5, 0.05, method, offset).numel() == 0


def test_nms_match_groups_what_is_suppressed():
    boxes = torch.tensor([[0, 0, 10, 10, 0.5], [1, 0, 11, 10, 0.9], [30, 30, 40, 40, 0.7], [0, 1, 10, 11, 0.6]])
    assert nms_match(boxes, 0.5) == [[1, 3, 0], [2]]
    assert nms_match(boxes[:0], 0.5) == []


@pytest.mark.parametrize("multi_label", [False, True])
def test_nms_rotated_by_definition(multi_label):
    boxes, scores = turned_of()
    labels = torch.arange(40) % 2
    overlap = rotated_iou(boxes, boxes)
    if multi_label:
        overlap = torch.where(labels[:, None] == labels, overlap, 0)
    order = scores.argsort(descending=True)
    expected = greedy(order.tolist(), lambda i, j: overlap[i, j], 0.2)
    with_labels = torch.cat([boxes, labels[:, None].float()], 1) if multi_label else boxes
    kept = nms_rotated(with_labels, scores, order, with_labels[order], labels, 0.2, multi_label)
    assert kept.tolist() == expected


@pytest.mark.parametrize("upright", [False, True])
def test_nms_3d_from_above(upright):
    flat, scores = turned_of()
    boxes = torch.cat([flat[:, :2], torch.rand(40, 1), flat[:, 2:4], torch.rand(40, 1), flat[:, 4:]], 1)
    boxes = boxes[scores.argsort(descending=True)]
    plane = boxes[:, [0, 1, 3, 4, 6]].clone()
    if upright:
        plane[:, 4] = 0
    overlap = rotated_iou(plane, plane)
    expected = greedy(range(40), lambda i, j: overlap[i, j], 0.1)
    keep, number = torch.zeros(40, dtype=torch.long), torch.zeros((), dtype=torch.long)
    run = iou3d_nms3d_normal_forward if upright else iou3d_nms3d_forward
    run(boxes, keep, number, nms_overlap_thresh=0.1)
    assert keep[:number].tolist() == expected
    run(boxes[:0], keep, number, nms_overlap_thresh=0.1)
    assert number == 0
