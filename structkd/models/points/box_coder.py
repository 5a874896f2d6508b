"""Boxes as differences from anchors, and headings as an angle up to a half turn and the half it is in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Where the circle is cut into the two halves that the direction classifier tells apart.
DIRECTION_OFFSET = -math.pi / 2


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    r"""Differences that lead from anchors to boxes.

    :math:`(x - x_a) / d, (y - y_a) / d, (z^c - z^c_a) / h_a, \ln(l / l_a), \ln(w / w_a), \ln(h / h_a), \theta -
    \theta_a` with :math:`d = \sqrt{l_a^2 + w_a^2}` and :math:`z^c` the centre of the box, not of its bottom face.

    Args:
        boxes: [..., 7] LiDAR boxes x, y, z (bottom), l, w, h, yaw.
        anchors: [..., 7] of the same kind.

    Returns:
        [..., 7].

    Source: Yan et al., "SECOND", Sensors 2018, equation 6.
    """
    x, y, z, l, w, h, yaw = boxes.unbind(-1)  # noqa: E741
    xa, ya, za, la, wa, ha, yaw_a = anchors.unbind(-1)
    diagonal = torch.hypot(la, wa)
    dz = (z + h / 2 - za - ha / 2) / ha
    sizes = [(l / la).log(), (w / wa).log(), (h / ha).log()]
    return torch.stack([(x - xa) / diagonal, (y - ya) / diagonal, dz, *sizes, yaw - yaw_a], -1)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Boxes [..., 7] from differences and anchors; the inverse of `encode`."""
    dx, dy, dz, dl, dw, dh, turn = deltas.unbind(-1)
    xa, ya, za, la, wa, ha, yaw_a = anchors.unbind(-1)
    diagonal = torch.hypot(la, wa)
    h = dh.exp() * ha
    z = dz * ha + za + ha / 2 - h / 2
    return torch.stack([dx * diagonal + xa, dy * diagonal + ya, z, dl.exp() * la, dw.exp() * wa, h, turn + yaw_a], -1)


def direction_of(yaw: Tensor) -> Tensor:
    """[...] int64, 0 or 1: which half of the circle, from `DIRECTION_OFFSET` on, a heading lies in."""
    turned = torch.remainder(yaw - DIRECTION_OFFSET, 2 * math.pi)
    # In floating point the remainder of a tiny negative angle is 2 pi itself.
    return (turned / math.pi).floor().long().clamp_(max=1)


def with_direction(yaw: Tensor, direction: Tensor) -> Tensor:
    """[...] the heading in the half `direction` that equals `yaw` up to a half turn, from -pi / 2 to 3 pi / 2."""
    return torch.remainder(yaw - DIRECTION_OFFSET, math.pi) + DIRECTION_OFFSET + math.pi * direction


def sine_difference(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both encoded boxes [N, 7] with the last columns replaced so that their difference is sin(predicted - target).

    A box turned by a half is the same box to this loss; the direction classifier tells the two apart.

    Source: Yan et al., "SECOND", section 3.2.2.
    """
    angle, wanted = predicted[..., 6:7], target[..., 6:7]
    return (
        torch.cat([predicted[..., :6], angle.sin() * wanted.cos()], -1),
        torch.cat([target[..., :6], angle.cos() * wanted.sin()], -1),
    )
