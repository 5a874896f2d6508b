"""Heat maps with a peak at each object."""

from __future__ import annotations

import torch
from torch import Tensor

#: An object drawn off by its radius still overlaps itself by this much; and the least radius, in cells.
OVERLAP, MIN_RADIUS = 0.1, 2


def gaussian_radius(length: Tensor, width: Tensor, overlap: float = OVERLAP) -> Tensor:
    """[M] how far, in cells, the corners of rectangles may move so that `overlap` of them is left.

    Source: Law & Deng, "CornerNet", ECCV 2018, section 3.1.
    Differences: as in the authors' code and all that derive from it, two of the three quadratic equations are solved
    without the division by their leading coefficient; published thresholds count on it.
    """
    total, area = length + width, length * width

    def root(a: float, b: Tensor, c: Tensor) -> Tensor:
        return (b + (b.square() - 4 * a * c).sqrt()) / 2

    return torch.stack(
        [
            root(1, total, area * (1 - overlap) / (1 + overlap)),
            root(4, 2 * total, (1 - overlap) * area),
            root(4 * overlap, -2 * overlap * total, (overlap - 1) * area),
        ]
    ).amin(0)


def draw_gaussians(
    num_scenes: int,
    num_classes: int,
    shape: tuple[int, int],
    scene: Tensor,
    label: Tensor,
    row: Tensor,
    column: Tensor,
    radius: Tensor,
) -> Tensor:
    """Heat maps [B, K, H, W]: a Gaussian around each object, the larger one where several meet; 1 at the peaks.

    Args:
        scene, label, row, column: [M] int64 place of each object.
        radius: [M] int64 cells; the Gaussian of standard deviation (2 radius + 1) / 6 ends there.
    """
    height, width = shape
    heat = torch.zeros(num_scenes * num_classes * height * width, device=radius.device)
    if not radius.numel():
        return heat.view(num_scenes, num_classes, height, width)
    reach = torch.arange(-int(radius.max()), int(radius.max()) + 1, device=radius.device)
    dy, dx = reach[None, :, None], reach[None, None, :]
    size = radius[:, None, None]
    y, x = row[:, None, None] + dy, column[:, None, None] + dx
    inside = (dy.abs() <= size) & (dx.abs() <= size) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    value = torch.exp(-18.0 * (dx.square() + dy.square()) / (2 * size + 1).square())
    place = ((scene * num_classes + label)[:, None, None] * height + y) * width + x
    heat.scatter_reduce_(0, place[inside], value[inside], "amax")
    return heat.view(num_scenes, num_classes, height, width)
