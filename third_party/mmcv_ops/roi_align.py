"""RoIAlign: features of an image map at regular places in boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcv_ops.registry import operator

MAX, MEAN = 0, 1


@operator("roi_align_forward", differs="a bin whose values are all below -3.4e38 aside, none")
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Mean or maximum of bilinear samples in each bin of each box.

    Args:
        input: [B, C, H, W].
        rois: [R, 5] image, x1, y1, x2, y2.
        output: [R, C, h, w], to be filled.
        argmax_y, argmax_x: [R, C, h, w], to be filled with where the maxima were sampled (pool_mode 0 only).
        aligned_height, aligned_width: h, w.
        spatial_scale: cells of the map for a unit of the boxes.
        sampling_ratio: samples along each side of a bin; 0 for as many as cells a bin spans.
        pool_mode: 0 for the maximum, 1 for the mean.
        aligned: whether a cell's value stands at its centre; otherwise boxes have sides of at least one cell.
    """
    for r, roi in enumerate(rois):
        y, x, samples = _samples(roi, aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned)
        values = _bilinear(input[int(roi[0])], y, x)  # [C, h * sy, w * sx]
        bins = values.view(-1, aligned_height, samples[0], aligned_width, samples[1]).transpose(2, 3).flatten(3)
        if pool_mode == MEAN:
            output[r] = bins.sum(3) / max(samples[0] * samples[1], 1)
        elif bins.size(3):
            largest, place = bins.max(3)
            output[r] = largest
            h, w = torch.arange(aligned_height, device=x.device), torch.arange(aligned_width, device=x.device)
            argmax_y[r] = y[h[:, None] * samples[0] + place.div(samples[1], rounding_mode="floor")].to(argmax_y.dtype)
            argmax_x[r] = x[w * samples[1] + place % samples[1]].to(argmax_x.dtype)


@operator("roi_align_backward")
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add the gradients [R, C, h, w] to those of the map, [B, C, H, W]."""
    height, width = grad_input.shape[2:]
    for r, roi in enumerate(rois):
        image = grad_input[int(roi[0])].view(-1, height * width)
        if pool_mode == MAX:
            corners = _corners(argmax_y[r], argmax_x[r], height, width)
            for cell, weight in corners:
                image.scatter_add_(1, cell.flatten(1), (grad_output[r] * weight.to(grad_output.dtype)).flatten(1))
            continue
        y, x, samples = _samples(roi, aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned)
        if y.numel() == 0 or x.numel() == 0:
            continue
        share = grad_output[r] / (samples[0] * samples[1])
        spread = share.repeat_interleave(samples[0], 1).repeat_interleave(samples[1], 2)
        for cell, weight in _corners(y[:, None].expand(-1, x.numel()), x.expand(y.numel(), -1), height, width):
            image.index_add_(1, cell.flatten(), (spread * weight.to(spread.dtype)).flatten(1))


def _samples(
    roi: Tensor, height: int, width: int, scale: float, ratio: int, aligned: bool
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Rows [h * sy] and columns [w * sx] at which the map is sampled, and how many (sy, sx) there are in a bin."""
    x1, y1, x2, y2 = (roi[1:] * scale - (0.5 if aligned else 0)).unbind()
    places, numbers = [], []
    for low, high, bins in ((y1, y2, height), (x1, x2, width)):
        size = high - low
        if not aligned:
            size = size.clamp(min=1)
        number = ratio if ratio > 0 else max(int(torch.ceil(size / bins)), 0)
        step = (torch.arange(number, device=roi.device, dtype=roi.dtype) + 0.5) / max(number, 1)
        start = torch.arange(bins, device=roi.device, dtype=roi.dtype)[:, None]
        places.append((low + (start + step) * (size / bins)).flatten())
        numbers.append(number)
    return places[0], places[1], (numbers[0], numbers[1])


def _bilinear(image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """[C, Y, X] values of the map [C, H, W] at rows [Y] and columns [X]."""
    flat = image.flatten(1)
    out = image.new_zeros(image.size(0), y.numel(), x.numel())
    for cell, weight in _corners(y[:, None].expand(-1, x.numel()), x.expand(y.numel(), -1), *image.shape[1:]):
        out += flat[:, cell.flatten()].view_as(out) * weight.to(out.dtype)
    return out


def _corners(y: Tensor, x: Tensor, height: int, width: int) -> list[tuple[Tensor, Tensor]]:
    """The four cells around each place, and their weights; 0 for a place more than a cell outside of the map."""
    there = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    (y0, y1, fy), (x0, x1, fx) = _along(y, height), _along(x, width)
    return [
        (row * width + column, torch.where(there, wy * wx, 0))
        for row, wy in ((y0, 1 - fy), (y1, fy))
        for column, wx in ((x0, 1 - fx), (x1, fx))
    ]


def _along(place: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cells before and after each place, and how far it is from the first to the second."""
    place = place.clamp(0, size - 1)
    low = place.floor().long()
    return low, (low + 1).clamp(max=size - 1), place - low
