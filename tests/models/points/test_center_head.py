import math

import pytest
import torch

from structkd.models.points import CenterHead
from structkd.models.points.dense import HeadOutput
from structkd.models.points.gaussian import draw_gaussians, gaussian_radius

BOUNDS, SHAPE = (0.0, -8.0, 16.0, 8.0), (32, 16)  # cells of 0.5 m (y) x 1 m (x)


@pytest.fixture
def head():
    return CenterHead(4, 2, BOUNDS, SHAPE, channels=8, velocity=True)


@pytest.fixture
def boxes():
    return torch.tensor([[3.2, -2.6, -1.0, 4, 2, 1.5, 2.5, 1, -1], [9.9, 5.1, -1.2, 1, 0.5, 1.8, -0.4, 0, 0.5]])


def _perfect(head, boxes, labels):
    """An output that says exactly where the objects are."""
    place = head._place(boxes)
    column, row = place.floor().long().unbind(1)
    logits = torch.full((1, 1, 2, *SHAPE), -12.0)
    logits[0, 0, labels, row, column] = 12.0
    box_map = torch.zeros(1, 1, 10, *SHAPE)
    box_map[0, 0, :, row, column] = head._encode(boxes, place).T
    return HeadOutput(logits, box_map)


def test_boxes_come_back(head, boxes):
    labels = torch.tensor([1, 0])
    (found,) = head.predict(_perfect(head, boxes, labels))
    assert found["labels"].sort().values.tolist() == [0, 1]
    order = found["labels"].argsort(descending=True)
    torch.testing.assert_close(found["boxes"][order], boxes)


def test_encoding_by_hand(head, boxes):
    row = head._encode(boxes[:1], head._place(boxes[:1]))[0]
    ln, angle = [math.log(4), math.log(2), math.log(1.5)], [math.sin(2.5), math.cos(2.5)]
    torch.testing.assert_close(row, torch.tensor([0.2, 0.8, -0.25, *ln, *angle, 1, -1]))


def test_losses_of_a_perfect_output_vanish(head, boxes):
    labels, batch = torch.tensor([1, 0]), torch.tensor([0, 0])
    output = _perfect(head, boxes, labels)
    losses = head.loss(output, boxes, labels, batch)
    assert losses["box"] < 1e-6 and losses["heatmap"] < 1e-3
    wrong = head.loss(output, boxes, 1 - labels, batch)
    assert wrong["heatmap"] > 1


def test_the_box_loss_by_hand(head, boxes):
    labels, batch = torch.tensor([1, 0]), torch.tensor([0, 0])
    output = _perfect(head, boxes, labels)
    output.box_map[:, :, 2] += 0.5  # heights: 0.25 * 0.5 an object
    output.box_map[:, :, 8] += 2.0  # velocities along x: 0.25 * 0.2 * 2 an object
    torch.testing.assert_close(head.loss(output, boxes, labels, batch)["box"], torch.tensor(0.125 + 0.1))
    unknown = boxes.clone()
    unknown[0, 7:] = float("nan")
    torch.testing.assert_close(head.loss(output, unknown, labels, batch)["box"], torch.tensor(0.125 + 0.05))
    outside = torch.cat([boxes, boxes[:1] + 100])
    losses = head.loss(output, outside, torch.tensor([1, 0, 1]), torch.tensor([0, 0, 0]))
    torch.testing.assert_close(losses["box"], torch.tensor(0.125 + 0.1))


def test_only_the_highest_of_a_neighbourhood(head):
    logits = torch.full((1, 1, 2, *SHAPE), -12.0)
    logits[0, 0, 0, 4, 4], logits[0, 0, 0, 4, 5], logits[0, 0, 1, 5, 5] = 3.0, 2.0, 1.0
    (found,) = head.predict(HeadOutput(logits, torch.zeros(1, 1, 10, *SHAPE)))
    assert found["labels"].tolist() == [0, 1]
    torch.testing.assert_close(found["scores"], torch.tensor([3.0, 1.0]).sigmoid())


def test_gaussians_by_hand():
    at = (torch.tensor([value]) for value in (1, 0, 2, 3, 2))
    heat = draw_gaussians(2, 1, (6, 7), *at)
    assert heat[0].max() == 0 and heat[1, 0, 2, 3] == 1
    sigma = 5 / 6
    torch.testing.assert_close(heat[1, 0, 4, 2], torch.tensor(math.exp(-(4 + 1) / (2 * sigma**2))))
    assert heat[1, 0, 5, 3] == 0 and heat[1, 0, 2, 6] == 0, "beyond the radius"
    assert (heat == 1).sum() == 1


def test_gaussians_meet_in_their_maximum():
    one, two = torch.tensor([0]), torch.tensor([0, 0])
    a, b = ((one, one, one + 2, one + column, one + 2) for column in (2, 4))
    together = draw_gaussians(1, 1, (5, 7), two, two, two + 2, torch.tensor([2, 4]), two + 2)
    apart = torch.maximum(draw_gaussians(1, 1, (5, 7), *a), draw_gaussians(1, 1, (5, 7), *b))
    assert torch.equal(together, apart)


def test_radius_by_hand():
    # The third equation decides for a square of 10: a = 0.4, b = -4, c = -90, divided by 2 and not by 2 a.
    side = torch.tensor([10.0])
    torch.testing.assert_close(gaussian_radius(side, side), torch.tensor([(-4 + math.sqrt(160)) / 2]))


def test_gradients(generator):
    head = CenterHead(4, 2, (0.0, 0.0, 3.0, 3.0), (3, 3), channels=8)
    boxes = torch.tensor([[1.3, 0.6, -1.0, 1, 0.5, 1.5, 2.5], [2.2, 2.9, -1.0, 1, 0.5, 1.5, 1.0]]).double()
    maps = [torch.randn(2, 1, size, 3, 3, generator=generator).double().requires_grad_() for size in (2, 8)]

    def total(*maps):
        return torch.stack([*head.loss(HeadOutput(*maps), boxes, torch.tensor([0, 1]), torch.tensor([0, 1])).values()])

    assert (total(*maps) > 0).all()
    assert torch.autograd.gradcheck(total, maps)
