import math
import sys

import pytest
import torch

from structkd.errors import DataError
from structkd.ops.rotated_iou import iou_3d, near_pairs, rotated_intersection, rotated_iou

PI = math.pi


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def random_boxes(count, generator, spread=4.0, origin=(0.0, 0.0)):
    x = torch.rand(count, 5, generator=generator, dtype=torch.float64)
    x[:, :2] = x[:, :2] * spread + torch.tensor(origin)
    x[:, 2:4] = x[:, 2:4] * 5 + 0.01
    x[:, 4] = (x[:, 4] - 0.5) * 8 * PI
    return x


def shapely_areas(a, b):
    shapely = pytest.importorskip("shapely")

    def polygons(boxes):
        x, y, length, width, yaw = boxes.unsqueeze(2).unbind(1)
        along, across = torch.tensor([1, -1, -1, 1]) * length / 2, torch.tensor([1, 1, -1, -1]) * width / 2
        corners = torch.stack(
            [x + along * yaw.cos() - across * yaw.sin(), y + along * yaw.sin() + across * yaw.cos()], 2
        )
        return shapely.polygons(corners.numpy())

    # Without a grid, sides that coincide up to rounding make it return nothing or a whole polygon now and then:
    # 1 of 1,000 boxes turned by 180 degrees, 23 of 1,000 that touch.
    areas = shapely.area(shapely.intersection(polygons(a), polygons(b), grid_size=1e-9))
    return torch.from_numpy(areas)


def partners():
    """What the second box of a pair may be, made from the first."""
    return {
        "random": lambda a, g: random_boxes(len(a), g),
        "identical": lambda a, g: a.clone(),
        "turned by 90 degrees": lambda a, g: a + boxes([0, 0, 0, 0, PI / 2]),
        "turned by 180 degrees": lambda a, g: a + boxes([0, 0, 0, 0, PI]),
        "turned by a hair": lambda a, g: a + boxes([0, 0, 0, 0, 1e-4]),
        "turned by less than a hair": lambda a, g: a + boxes([0, 0, 0, 0, 1e-9]),
        "moved a little": lambda a, g: a + boxes([1e-9, -1e-9, 0, 0, 0]),
        "nested": lambda a, g: a * boxes([1, 1, 0.5, 0.25, 1]),
        "around": lambda a, g: a * boxes([1, 1, 20, 20, 1]) + boxes([0.1, 0.2, 0, 0, 1]),
        "sharing sides": lambda a, g: ahead(a, 0.25) * boxes([1, 1, 0.5, 1, 1]),
        "touching end to end": lambda a, g: ahead(a, 1),
        "thin": lambda a, g: a * boxes([1, 1, 1, 1e-6, 1]),
    }


def ahead(a, lengths):
    """The same boxes moved along their headings by a number of their lengths."""
    heading = torch.stack([a[:, 4].cos(), a[:, 4].sin()], 1)
    return torch.cat([a[:, :2] + lengths * a[:, 2:3] * heading, a[:, 2:]], 1)


@pytest.mark.parametrize("kind", partners())
def test_agrees_with_shapely(kind, generator):
    a = random_boxes(1000, generator)
    b = partners()[kind](a, generator)
    expected = shapely_areas(a, b)
    assert torch.allclose(rotated_intersection(a, b, aligned=True), expected, rtol=0, atol=1e-6)
    whole = a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - expected
    assert torch.allclose(rotated_iou(a, b, aligned=True), expected / whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("quarter_turns", range(-9, 10))
def test_turned_squares_are_exact(quarter_turns):
    a = boxes([70.4, -39.9, 1.6, 1.6, 0.3])
    b = a + boxes([0, 0, 0, 0, quarter_turns * PI / 2])
    assert rotated_iou(a, b).item() == pytest.approx(1, abs=1e-12)


def test_hand_computed():
    a = boxes([0, 0, 2, 2, 0])
    assert rotated_intersection(a, boxes([1, 1, 2, 2, 0])).item() == 1
    assert rotated_iou(a, boxes([1, 0, 2, 2, 0])).item() == pytest.approx(2 / 6)
    # The square on its corner cuts off four triangles with legs 2 - sqrt(2).
    octagon = 4 - 4 * (2 - math.sqrt(2)) ** 2 / 2
    assert rotated_intersection(a, boxes([0, 0, 2, 2, PI / 4])).item() == pytest.approx(octagon, abs=1e-12)
    assert rotated_intersection(a, boxes([2, 0, 2, 2, 0])).item() == 0
    assert rotated_intersection(a, boxes([9, 9, 2, 2, 1])).item() == 0


def test_matrix_is_all_aligned_pairs_in_any_block(generator, monkeypatch):
    a, b = random_boxes(23, generator, spread=20), random_boxes(31, generator, spread=20)
    expected = rotated_iou(a.repeat_interleave(31, 0), b.repeat(23, 1), aligned=True).view(23, 31)
    assert torch.equal(rotated_iou(a, b), expected)
    monkeypatch.setattr(sys.modules["structkd.ops.rotated_iou"], "BLOCK", 64)
    monkeypatch.setattr(sys.modules["structkd.ops.rotated_iou"], "CHUNK", {"cpu": 5, "cuda": 5})
    assert torch.equal(rotated_iou(a, b), expected)
    assert (expected > 0).any() and (expected == 0).any()


def test_symmetric_and_independent_of_the_place(generator):
    a, b = random_boxes(500, generator), random_boxes(500, generator)
    area = rotated_intersection(a, b, aligned=True)
    assert torch.allclose(area, rotated_intersection(b, a, aligned=True), atol=1e-12)
    far = boxes([1e4, -2e4, 0, 0, 0])
    assert torch.allclose(area, rotated_intersection(a + far, b + far, aligned=True), atol=1e-9)


def test_float32_goes_in_and_comes_out(generator):
    a, b = random_boxes(200, generator, origin=(60, 40)).float(), random_boxes(200, generator, origin=(60, 40)).float()
    found = rotated_iou(a, b, aligned=True)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), rotated_iou(a.double(), b.double(), aligned=True), atol=1e-7)


def test_whole_numbers_give_fractions():
    a, b = torch.tensor([[0, 0, 2, 2, 0]]), torch.tensor([[1, 0, 2, 2, 0]])
    assert rotated_iou(a, b).item() == pytest.approx(1 / 3)


def test_empty_boxes_and_no_boxes():
    a = boxes([0, 0, 2, 2, 0], [0, 0, 0, 2, 0], [0, 0, -1, -1, 0])
    assert rotated_iou(a, a).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    none = torch.zeros(0, 5)
    assert rotated_iou(none, a).shape == (0, 3)
    assert rotated_iou(a, none).shape == (3, 0)
    assert rotated_iou(none, none, aligned=True).shape == (0,)
    assert iou_3d(torch.zeros(0, 7), torch.zeros(2, 7)).shape == (0, 2)


def test_3d_hand_computed():
    a = boxes([0, 0, -1, 4, 2, 1.5, 0])
    b = boxes([0, 0, -0.25, 4, 2, 1.5, PI], [0, 0, 0.5, 4, 2, 1.5, 0], [2, 0, -1, 4, 2, 1.5, 0], [0, 0, -1, 4, 2, 0, 0])
    expected = torch.tensor([[1 / 3, 0, 1 / 3, 0]], dtype=torch.float64)
    assert torch.allclose(iou_3d(a, b), expected, atol=1e-12)
    assert torch.allclose(iou_3d(a.expand(4, 7), b, aligned=True), expected[0], atol=1e-12)


def test_near_pairs_misses_none(generator):
    a, b = random_boxes(50, generator, spread=30), random_boxes(60, generator, spread=30)
    near = torch.zeros(50, 60, dtype=torch.bool)
    for i, j in near_pairs(a, b):
        near[i, j] = True
    shared = rotated_intersection(a.repeat_interleave(60, 0), b.repeat(50, 1), aligned=True).view(50, 60)
    assert not (shared[~near] > 0).any()
    assert near.sum() < near.numel() / 2


def test_shapes_that_do_not_fit():
    with pytest.raises(DataError, match=r"\(2, 4\).*expected \[N, 5\]"):
        rotated_iou(torch.zeros(2, 4), torch.zeros(2, 5))
    with pytest.raises(DataError, match="shapes"):
        rotated_iou(torch.zeros(2, 5), torch.zeros(3, 5), aligned=True)
    with pytest.raises(DataError, match=r"expected \[N, 7\]"):
        iou_3d(torch.zeros(2, 5), torch.zeros(3, 7))
