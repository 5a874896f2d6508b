import math

import pytest
import torch

from structkd.models.points.anchors import Anchor, AnchorGrid
from structkd.models.points.assign import assign
from structkd.ops import iou_2d

CAR, WALKER = Anchor((4.0, 2.0, 1.5), -1.8, 0.6, 0.45), Anchor((1.0, 0.5, 1.7), -0.6, 0.5, 0.35)


def _upright(boxes):
    """x1, y1, x2, y2 of boxes turned to the nearest quarter."""
    turn = (boxes[:, 6] + math.pi / 2) % math.pi - math.pi / 2
    size = torch.where(turn.abs()[:, None] > math.pi / 4, boxes[:, [4, 3]], boxes[:, [3, 4]])
    return torch.cat([boxes[:, :2] - size / 2, boxes[:, :2] + size / 2], 1)


def _by_definition(grid, anchors, boxes, labels, batch, scenes, per_class):
    """For each anchor its object, -1 for background and -2 for neither, comparing all with all in float64."""
    kinds, height, width = grid.shape
    ids = torch.arange(kinds * height * width)
    every = grid.boxes(ids // (height * width), ids // width % height, ids % width).double()
    turns = grid.rotations.numel()
    result = []
    for scene in range(scenes):
        target = torch.full((kinds, height * width), -1)
        for size, anchor in enumerate(anchors):
            rows = slice(size * turns, (size + 1) * turns)
            mine = (batch == scene) & ((labels == size) if per_class else torch.ones_like(labels, dtype=torch.bool))
            mine = mine.nonzero().squeeze(1)
            if not mine.numel():
                continue
            iou = iou_2d(_upright(boxes[mine].double()), _upright(every.view(kinds, -1, 7)[rows].reshape(-1, 7)))
            best, which = iou.max(0)
            found = torch.where(best < anchor.negative, -1, -2)
            found = torch.where(best >= anchor.positive, mine[which], found)
            for row, box in zip(iou, mine):
                if row.max() >= anchor.negative:
                    found[row > row.max() - 1e-9] = box
            target[rows] = found.view(turns, -1)
        result.append(target.flatten())
    return torch.cat(result)


def _dense(grid, found, scenes):
    target = torch.full((scenes * math.prod(grid.shape),), -1)
    target[found.ignored] = -2
    target[found.positive] = found.target
    return target


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("centred", [True, False])
def test_agrees_with_the_definition(per_class, centred, generator):
    anchors = [CAR, WALKER]
    grid = AnchorGrid.build(anchors, (0, -8, 16, 8), (40, 41), centred=centred)
    sizes = torch.tensor([anchor.size for anchor in anchors])
    outcomes = set()
    for count in (0, 1, 12, 40):
        labels = torch.randint(0, 2, (count,), generator=generator)
        boxes = torch.rand(count, 7, generator=generator) * torch.tensor([18, 18, 1, 1, 1, 1, 8]) - torch.tensor(
            [1.0, 9, 0, 0, 0, 0, 4]
        )
        boxes[:, 3:6] = sizes[labels] * (0.7 + 0.6 * torch.rand(count, 3, generator=generator))
        batch = torch.randint(0, 3, (count,), generator=generator).sort().values
        found = assign(grid, boxes, labels, batch, per_class)
        expected = _by_definition(grid, anchors, boxes, labels, batch, 3, per_class)
        different = _dense(grid, found, 3) != expected
        # Overlaps that tie in exact arithmetic may differ by rounding: one anchor in ten thousand.
        assert different.sum() <= expected.numel() * 1e-4
        outcomes |= set(expected.clamp(max=0).tolist())
        assert (found.positive.diff() > 0).all()
    assert outcomes == {-2, -1, 0}


def _one_row(*boxes, labels=None, anchors=(CAR,), per_class=True):
    """Assignment on one row of 8 cells of 1 m, centres 0.5, 1.5, ... 7.5, anchors along x only."""
    grid = AnchorGrid.build(anchors, (0, -0.5, 8, 0.5), (1, 8), rotations=(0.0,))
    boxes = torch.tensor(boxes).view(-1, 7)
    labels = torch.zeros(len(boxes), dtype=torch.int64) if labels is None else torch.tensor(labels)
    batch = torch.zeros(len(boxes), dtype=torch.int64)
    return assign(grid, boxes, labels, batch, per_class)


def test_by_hand():
    # A box of the anchor's own size at 3.5: overlaps of anchors 0, 1, 2, 3 m away are 1, 3/5, 2/6, 1/7.
    found = _one_row([3.5, 0, 0, 4, 2, 1, 0])
    assert found.positive.tolist() == [2, 3, 4] and found.target.tolist() == [0, 0, 0]
    assert found.ignored.tolist() == []
    # 0.25 m off: 3.75/4.25 and 3.25/4.75 = 0.68, then 2.75/5.25 = 0.52 and 2.25/5.75 = 0.39.
    found = _one_row([3.75, 0, 0, 4, 2, 1, 0])
    assert found.positive.tolist() == [3, 4] and found.ignored.tolist() == [2]


def test_an_object_that_nothing_fits_takes_its_best():
    # Half as wide: 0.5 at best, between the thresholds.
    found = _one_row([3.5, 0, 0, 4, 1, 1, 0])
    assert found.positive.tolist() == [3] and found.ignored.tolist() == []
    # Between two cells both are best.
    assert _one_row([4.0, 0, 0, 4, 1.1, 1, 0]).positive.tolist() == [3, 4]
    # Below the lower threshold: nobody's.
    found = _one_row([3.5, 0, 0, 4, 0.8, 1, 0])
    assert found.positive.tolist() == [] and found.ignored.tolist() == []


def test_the_last_of_two_equal_objects_wins():
    box = [3.5, 0, 0, 4, 1, 1, 0]
    assert _one_row(box, box).target.tolist() == [1]
    assert _one_row([3.5, 0, 0, 4, 2, 1, 0], box).target.tolist() == [0, 1, 0], "though it overlaps it less"


def test_only_anchors_of_its_class():
    small = Anchor((4.0, 2.0, 1.0), 0.0, 0.6, 0.45)
    found = _one_row([3.5, 0, 0, 4, 2, 1, 0], labels=[1], anchors=(CAR, small))
    assert found.positive.tolist() == [10, 11, 12]
    found = _one_row([3.5, 0, 0, 4, 2, 1, 0], labels=[1], anchors=(CAR, small), per_class=False)
    assert found.positive.tolist() == [2, 3, 4, 10, 11, 12]


def test_a_quarter_turn_swaps_length_and_width():
    along, across = [3.5, 0, 0, 4, 2, 1, math.pi], [3.5, 0, 0, 2, 4, 1, -math.pi / 2 + 0.1]
    assert torch.equal(_one_row(along).positive, _one_row(across).positive)


def test_boxes_beside_the_map_get_nothing():
    assert _one_row([30.0, 0, 0, 4, 2, 1, 0], [3.5, -9, 0, 4, 2, 1, 0]).positive.tolist() == []
