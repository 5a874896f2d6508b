import math

import pytest
import torch

from structkd.models.points.box_coder import decode, direction_of, encode, sine_difference, with_direction


def _boxes(count, generator):
    boxes = torch.randn(count, 7, generator=generator, dtype=torch.float64)
    boxes[:, 3:6] = boxes[:, 3:6].exp()
    return boxes


def test_by_hand():
    anchor = torch.tensor([10.0, 2.0, -1.78, 3.0, 4.0, 2.0, 0.0])
    box = torch.tensor([15.0, 1.0, -1.0, 6.0, 4.0, 1.0, 0.5])
    expected = torch.tensor([1.0, -0.2, (-0.5 - -0.78) / 2, math.log(2), 0.0, -math.log(2), 0.5])
    torch.testing.assert_close(encode(box, anchor), expected)


def test_decoding_inverts_encoding(generator):
    boxes, anchors = _boxes(50, generator), _boxes(50, generator)
    torch.testing.assert_close(decode(encode(boxes, anchors), anchors), boxes)
    assert encode(boxes[:0], anchors[:0]).shape == (0, 7)


def test_the_half_of_the_circle():
    yaw = torch.tensor([-1.57, -1.58, 0.0, 1.57, 1.58, 3.0, -3.0, math.pi * 2])
    assert direction_of(yaw).tolist() == [0, 1, 0, 0, 1, 1, 1, 0]
    assert direction_of(torch.tensor([-math.pi / 2 - 1e-9])).item() in (0, 1)


def test_a_direction_turns_a_heading_by_halves_only(generator):
    yaw = torch.empty(200, dtype=torch.float64).uniform_(-7, 7, generator=generator)
    for flipped in (0, math.pi, -3 * math.pi):
        turned = with_direction(yaw + flipped, direction_of(yaw))
        torch.testing.assert_close(turned.cos(), yaw.cos())
        torch.testing.assert_close(turned.sin(), yaw.sin())


def test_the_difference_of_headings_is_a_sine(generator):
    predicted, target = _boxes(20, generator), _boxes(20, generator)
    a, b = sine_difference(predicted, target)
    torch.testing.assert_close((a - b)[:, :6], (predicted - target)[:, :6])
    torch.testing.assert_close((a - b)[:, 6], (predicted - target)[:, 6].sin())
    half = target.clone()
    half[:, 6] += math.pi
    torch.testing.assert_close(*sine_difference(half, target), rtol=0, atol=1e-12)


@pytest.mark.parametrize("column", range(7))
def test_gradients(generator, column):
    boxes, anchors = _boxes(4, generator).requires_grad_(), _boxes(4, generator)
    assert torch.autograd.gradcheck(lambda x: decode(x, anchors)[:, column], (boxes,))
