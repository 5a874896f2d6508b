import math

import pytest
import torch
from mmcv_ops.roi_align import roi_align_backward, roi_align_forward

ROIS = torch.tensor([[0, 1.0, 1, 9, 7], [1, -3, 2, 4, 30], [0, 5, 5, 5.2, 5.1], [1, 100, 100, 120, 120]]).double()


def sample(image, y, x):
    """Bilinear value at one place, by the definition."""
    height, width = image.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return torch.zeros_like(image[:, 0, 0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    fy, fx = y - y0, x - x0
    top = image[:, y0, x0] * (1 - fx) + image[:, y0, x1] * fx
    return top * (1 - fy) + (image[:, y1, x0] * (1 - fx) + image[:, y1, x1] * fx) * fy


def by_definition(images, roi, h, w, scale, ratio, mode, aligned):
    shift = 0.5 if aligned else 0
    x1, y1, x2, y2 = (v * scale - shift for v in roi[1:].tolist())
    sides = [y2 - y1, x2 - x1] if aligned else [max(y2 - y1, 1), max(x2 - x1, 1)]
    number = [ratio if ratio else math.ceil(side / n) for side, n in zip(sides, (h, w))]
    image = images[int(roi[0])]
    out = images.new_zeros(image.size(0), h, w)
    for i in range(h):
        for j in range(w):
            values = [
                sample(
                    image,
                    y1 + (i + (a + 0.5) / number[0]) * sides[0] / h,
                    x1 + (j + (b + 0.5) / number[1]) * sides[1] / w,
                )
                for a in range(number[0])
                for b in range(number[1])
            ]
            out[:, i, j] = torch.stack(values).amax(0) if mode == 0 else torch.stack(values).mean(0)
    return out


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [0, 2])
def test_forward_and_backward_by_definition(mode, aligned, ratio):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 2, 12, 16, generator=generator, dtype=torch.float64, requires_grad=True)
    given = dict(
        aligned_height=3, aligned_width=2, spatial_scale=0.7, sampling_ratio=ratio, pool_mode=mode, aligned=aligned
    )
    direct = torch.stack([by_definition(images, roi, 3, 2, 0.7, ratio, mode, aligned) for roi in ROIS])
    out, where_y, where_x = (torch.zeros(4, 2, 3, 2, dtype=torch.float64) for _ in range(3))
    roi_align_forward(images.detach(), ROIS, out, where_y, where_x, **given)
    torch.testing.assert_close(out, direct.detach())
    weight = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    (direct * weight).sum().backward()
    grad = torch.zeros_like(images)
    roi_align_backward(weight, ROIS, where_y, where_x, grad, **given)
    torch.testing.assert_close(grad, images.grad)


def test_no_boxes_float32_and_non_contiguous():
    images = torch.randn(2, 16, 12, 3).permute(0, 3, 2, 1)
    given = dict(aligned_height=2, aligned_width=2, spatial_scale=1.0, sampling_ratio=0, pool_mode=1, aligned=True)
    none = torch.zeros(0)
    roi_align_forward(images, ROIS[:0].float(), torch.zeros(0, 3, 2, 2), none, none, **given)
    out, again = torch.zeros(4, 3, 2, 2), torch.zeros(4, 3, 2, 2)
    roi_align_forward(images, ROIS.float(), out, none, none, **given)
    roi_align_forward(images.contiguous(), ROIS.float(), again, none, none, **given)
    assert torch.equal(out, again)
