import pytest
import torch

from structkd.errors import DataError
from structkd.ops.iou_2d import iou_2d
from structkd.ops.nms import nms, nms_rotated
from structkd.ops.rotated_iou import rotated_iou


def greedy(iou, scores, threshold, groups):
    """The definition, one box after the other."""
    kept = []
    for i in sorted(range(len(scores)), key=lambda i: -float(scores[i])):
        if not any(iou[i, j] > threshold and groups[i] == groups[j] for j in kept):
            kept.append(i)
    return kept


def rotated(count, generator):
    x = torch.rand(count, 5, generator=generator) * torch.tensor([12, 12, 4, 2, 7]) + torch.tensor([0, 0, 1, 1, 0])
    return x, rotated_iou(x, x)


def axis_aligned(count, generator):
    x = torch.rand(count, 4, generator=generator) * torch.tensor([20, 20, 5, 5])
    x[:, 2:] += x[:, :2]
    return x, iou_2d(x, x)


@pytest.mark.parametrize("op, make", [(nms_rotated, rotated), (nms, axis_aligned)])
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5])
def test_agrees_with_the_definition(op, make, threshold, generator):
    for count in (1, 2, 7, 60, 200):
        boxes, iou = make(count, generator)
        scores = torch.rand(count, generator=generator).mul(20).round()  # with ties
        groups = torch.randint(3, (count,), generator=generator)
        assert op(boxes, scores, threshold).tolist() == greedy(iou, scores, threshold, torch.zeros(count))
        assert op(boxes, scores, threshold, groups).tolist() == greedy(iou, scores, threshold, groups)


def test_a_chain_keeps_every_other_box():
    # Each overlaps the next: dropping one saves the one after it.
    x = torch.arange(50.0)
    boxes = torch.stack([x, torch.zeros(50), torch.full((50,), 1.5), torch.ones(50), torch.zeros(50)], 1)
    assert nms_rotated(boxes, -x, 0.1).tolist() == list(range(0, 50, 2))


def test_no_boxes_and_wrong_shapes():
    assert nms_rotated(torch.zeros(0, 5), torch.zeros(0), 0.5).tolist() == []
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    with pytest.raises(DataError, match=r"scores \(3,\).*expected \[N, 5\]"):
        nms_rotated(torch.zeros(2, 5), torch.zeros(3), 0.5)
    with pytest.raises(DataError, match=r"groups \(3,\)"):
        nms(torch.zeros(2, 4), torch.zeros(2), 0.5, torch.zeros(3))
