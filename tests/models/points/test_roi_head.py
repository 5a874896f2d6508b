import math

import pytest
import torch

from structkd.datasets.points.boxes import lidar_corners
from structkd.models.points.box_coder import encode
from structkd.models.points.roi_head import (
    RoIHead,
    corner_loss,
    corners,
    from_frame,
    pool_points,
    sample_regions,
    to_frame,
)
from structkd.ops import points_in_boxes


def _boxes(generator, count=20):
    low, span = torch.tensor([0.0, -10, -2, 1.5, 1.0, 1, -3]), torch.tensor([20.0, 20, 1, 3, 2, 1, 6])
    return torch.rand(count, 7, generator=generator) * span + low


def _head():
    return RoIHead(6, (8,), (8,), (0.5,), (4,), ((8,), (16,)), (8,))


def test_points_of_regions_are_those_of_the_definition(generator):
    pos = torch.rand(400, 3, generator=generator) * torch.tensor([20, 20, 3]) - torch.tensor([0, 10, 2])
    batch = torch.tensor([0] * 250 + [2] * 150)
    rois, scene = _boxes(generator), torch.arange(20) % 3
    index, found = pool_points(pos, batch, rois, scene, 3, 6, 0.5)
    wider = rois.clone()
    wider[:, 2] -= 0.5
    wider[:, 3:6] += 1
    inside = points_in_boxes(pos, wider) & (batch[:, None] == scene)
    assert torch.equal(found, inside.any(0)) and 0 < int(found.sum()) < 20
    for i in found.nonzero().flatten().tolist():
        rows = inside[:, i].nonzero().flatten().tolist()
        assert index[i].tolist() == (rows * 6)[:6]
    assert pool_points(pos[:0], batch[:0], rois, scene, 3, 6, 0.5)[1].tolist() == [False] * 20
    assert pool_points(pos, batch, rois[:0], scene[:0], 3, 6, 0.5)[0].shape == (0, 6)


def test_frames_lead_there_and_back(generator):
    rois, boxes = _boxes(generator), _boxes(generator)
    local = torch.cat([to_frame(boxes[:, None, :3], rois)[:, 0], boxes[:, 3:6], boxes[:, 6:] - rois[:, 6:]], 1)
    torch.testing.assert_close(from_frame(local, rois), boxes)
    ahead = torch.tensor([[3.0, 4, 0, 1, 1, 1, math.pi / 2]])
    torch.testing.assert_close(to_frame(torch.tensor([[[3.0, 6, 1]]]), ahead), torch.tensor([[[2.0, 0, 1]]]))


def test_corners_are_those_of_the_dataset(generator):
    boxes = _boxes(generator).double()
    torch.testing.assert_close(corners(boxes), torch.from_numpy(lidar_corners(boxes.numpy())))


def test_corner_loss(generator):
    boxes = _boxes(generator).double()
    turned = boxes + torch.tensor([0, 0, 0, 0, 0, 0, math.pi]).double()
    assert corner_loss(boxes, boxes).eq(0).all()
    torch.testing.assert_close(corner_loss(boxes, turned), torch.zeros(20).double())
    moved = boxes + torch.tensor([0, 0, 0.5, 0, 0, 0, 0]).double()
    torch.testing.assert_close(corner_loss(moved, boxes), torch.full((20,), 0.125).double())
    # At rest there is no direction to go, and no NaN.
    still = boxes.clone().requires_grad_()
    assert torch.autograd.grad(corner_loss(still, boxes).sum(), still)[0].isfinite().all()
    other = _boxes(generator, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda other: corner_loss(other, boxes[:3]), other)


@pytest.mark.parametrize("half_turn", [False, True])
def test_exact_corrections_cost_nothing_and_give_the_boxes(generator, half_turn):
    target = _boxes(generator)
    rois = target + (torch.rand(20, 7, generator=generator) - 0.5) * 0.2
    local = torch.cat([to_frame(target[:, None, :3], rois)[:, 0], target[:, 3:6], target[:, 6:] - rois[:, 6:]], 1)
    stand = torch.cat([torch.zeros(20, 3), rois[:, 3:6], torch.zeros(20, 1)], 1)
    deltas, iou = encode(local, stand), torch.linspace(0.5, 1, 20)
    torch.testing.assert_close(RoIHead.boxes(deltas, rois), target)
    wanted = target + torch.tensor([0, 0, 0, 0, 0, 0, math.pi]) * half_turn
    losses = RoIHead.loss(torch.zeros(20), deltas, rois, iou, wanted)
    assert float(losses["roi_box"]) < 1e-6 and float(losses["roi_corner"]) < 1e-6


def test_hand_computed_losses():
    rois = torch.tensor([[5.0, 0, 0, 4, 2, 1, 0]]).expand(3, 7)
    deltas = torch.zeros(3, 7)
    iou = torch.tensor([0.7, 0.475, 0.1])
    target = rois + torch.tensor([0, 0, 0.5, 0, 0, 0, 0])
    losses = RoIHead.loss(torch.zeros(3), deltas, rois, iou, target)
    # All at p = 0.5, whatever the target is.
    torch.testing.assert_close(losses["roi_cls"], torch.tensor(math.log(2)))
    torch.testing.assert_close(losses["roi_box"], torch.tensor(0.5 - 1 / 18))  # only the first counts
    torch.testing.assert_close(losses["roi_corner"], torch.tensor(0.125))
    logits = torch.tensor([0.0, 2, 0])
    expected = (2 * math.log(2) + math.log1p(math.exp(2)) - 0.5 * 2) / 3
    torch.testing.assert_close(RoIHead.loss(logits, deltas, rois, iou, target)["roi_cls"], torch.tensor(expected))
    none = RoIHead.loss(logits[:0], deltas[:0], rois[:0], iou[:0], target[:0])
    assert all(float(value) == 0 for value in none.values())


def test_every_parameter_of_the_head_learns(generator):
    head = _head()
    place, x = torch.rand(5, 12, 5, generator=generator), torch.rand(5, 12, 6, generator=generator)
    scores, deltas = head(place, x)
    assert scores.shape == (5,) and deltas.shape == (5, 7)
    weight = torch.randn(5, 8, generator=generator)
    (scores @ weight[:, 0] + (deltas * weight[:, 1:]).sum()).backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in head.parameters())
    head.eval()
    torch.testing.assert_close(head(place[2:3], x[2:3])[1], head(place, x)[1][2:3])
    none = head(place[:0], x[:0])
    assert none[0].shape == (0,) and none[1].shape == (0, 7)


def test_regions_to_learn_from():
    iou = torch.tensor([0.9] * 10 + [0.3] * 3 + [0.0] * 40 + [0.6, 0.3, 0.0])
    batch = torch.tensor([0] * 53 + [1] * 3)
    rows = sample_regions(iou, batch, 3, 16)
    first, second = rows[batch[rows] == 0], rows[batch[rows] == 1]
    assert rows.unique().numel() == rows.numel()
    assert (iou[first] == 0.9).sum() == 8 and (iou[first] == 0.3).sum() == 3 and (iou[first] == 0).sum() == 5
    assert sorted(second.tolist()) == [53, 54, 55]
    hard = sample_regions(torch.full((50,), 0.3), torch.zeros(50).long(), 1, 16)
    assert hard.unique().numel() == 16
    torch.manual_seed(3)
    again = sample_regions(iou, batch, 3, 16)
    torch.manual_seed(3)
    assert torch.equal(again, sample_regions(iou, batch, 3, 16))
