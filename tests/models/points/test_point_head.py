import math

import torch
from torch.nn import functional as F

from structkd.models.points import point_head
from structkd.models.points.point_head import PointHead, decode_at_points, encode_at_points, propose
from structkd.ops import nms_rotated

SIZES = ((3.9, 1.6, 1.56), (0.8, 0.6, 1.73))


def _boxes(generator, count=30):
    low, span = torch.tensor([0.0, -10, -2, 0.5, 0.5, 1, -3]), torch.tensor([20.0, 20, 1, 4, 2, 1, 6])
    return torch.rand(count, 7, generator=generator) * span + low


def test_codes_lead_back_to_the_boxes(generator):
    boxes = _boxes(generator)
    pos, sizes = boxes[:, :3] + torch.rand(30, 3, generator=generator), torch.tensor(SIZES)[torch.arange(30) % 2]
    torch.testing.assert_close(decode_at_points(encode_at_points(boxes, pos, sizes), pos, sizes), boxes)


def test_code_of_a_mean_box_from_its_centre():
    box = torch.tensor([[5.0, 1, -1, 3.9, 1.6, 1.56, math.pi / 2]])
    code = encode_at_points(box, torch.tensor([[5.0, 1, -0.22]]), torch.tensor(SIZES[:1]))
    torch.testing.assert_close(code, torch.tensor([[0.0, 0, 0, 0, 0, 0, 0, 1]]), atol=1e-6, rtol=0)


def test_hand_computed_loss():
    head = PointHead(4, SIZES, (8,))
    box = torch.tensor([[5.0, 0, -1, 4, 2, 1.5, 0]])
    pos = torch.tensor([[5.0, 0, 0], [7.05, 0, 0], [9, 0, 0], [5, 0, 0]])  # within, in the margin, outside, other scene
    batch = torch.tensor([0, 0, 0, 1])
    label, scene = torch.tensor([1]), torch.tensor([0])
    codes = encode_at_points(box.expand(4, 7), pos, torch.tensor(SIZES[1:]).expand(4, 3))
    logits = torch.zeros(4, 2)
    losses = head.loss(logits, codes, pos, batch, box, label, scene, 2)
    one = 0.25 * math.log(2)  # (1 - p)^2 (-ln p) at p = 0.5
    torch.testing.assert_close(losses["point_cls"], torch.tensor(0.25 * one + 0.75 * one * 5))
    assert losses["point_box"] == 0
    codes[0, 0] += 1
    torch.testing.assert_close(
        head.loss(logits, codes, pos, batch, box, label, scene, 2)["point_box"], torch.tensor(1 - 1 / 18)
    )
    nothing = head.loss(logits, codes, pos, batch, box[:0], label[:0], scene[:0], 2)
    torch.testing.assert_close(nothing["point_cls"], torch.tensor(0.75 * one * 8))
    assert nothing["point_box"] == 0


def test_box_of_the_best_class(generator):
    head, pos = PointHead(4, SIZES, (8,)), torch.rand(5, 3, generator=generator)
    codes = torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 0]).repeat(5, 1)
    logits = F.one_hot(torch.tensor([0, 1, 0, 1, 1]), 2).float()
    assert head.boxes(logits, codes, pos)[:, 3].tolist() == torch.tensor([3.9, 0.8, 3.9, 0.8, 0.8]).tolist()


def test_proposals_in_blocks_are_those_of_one_suppression(generator, monkeypatch):
    boxes, scores = _boxes(generator, 300), torch.randint(50, (300,), generator=generator).float()
    batch = torch.arange(300) // 150
    boxes[7] = float("inf")
    whole = []
    for scene in (0, 1):
        rows = ((batch == scene) & boxes.isfinite().all(1)).nonzero().squeeze(1)
        rows = rows[scores[rows].argsort(descending=True, stable=True)][:120]
        whole.append(rows[nms_rotated(boxes[rows][:, [0, 1, 3, 4, 6]], scores[rows], 0.1)][:25])
    assert [len(rows) for rows in whole] == [25, 25]
    for block in (1000, 40, 7):
        monkeypatch.setattr(point_head, "BLOCK", block)
        assert torch.equal(propose(boxes, scores, batch, 2, 120, 25, 0.1), torch.cat(whole))
    assert propose(boxes[:0], scores[:0], batch[:0], 2, 120, 25, 0.1).tolist() == []
