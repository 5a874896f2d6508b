import math

import pytest
import torch
from torch.nn import functional as F

from structkd.models.points import Anchor, AnchorHead
from structkd.models.points.assign import assign
from structkd.models.points.box_coder import direction_of, encode
from structkd.models.points.dense import HeadOutput

ANCHORS = (Anchor((4.0, 2.0, 1.5), -1.8, 0.6, 0.45), Anchor((1.0, 0.6, 1.7), -0.6, 0.5, 0.35))
BOUNDS, SHAPE = (0.0, -4.0, 8.0, 4.0), (8, 8)
BOXES = torch.tensor(
    [[3.6, -1.4, -1.7, 3.9, 2.1, 1.6, 2.9], [5.5, 2.5, -0.5, 1.1, 0.6, 1.6, 1.4], [2.4, 1.5, -1.7, 4.1, 1.8, 1.5, -0.1]]
)
LABELS, BATCH = torch.tensor([0, 1, 0]), torch.tensor([0, 0, 2])


@pytest.fixture
def head():
    return AnchorHead(4, ANCHORS, BOUNDS, SHAPE, nms_pre=300)


def _output(generator, scenes=3):
    shapes = ((2, 1.0), (7, 0.3), (2, 1.0))
    return HeadOutput(
        *(scale * torch.randn(scenes, 4, size, *SHAPE, generator=generator).double() for size, scale in shapes)
    )


@pytest.mark.parametrize("per_class", [True, False])
def test_the_losses_are_their_definition(head, generator, per_class):
    """Every anchor of every scene, one after another, in float64."""
    head.per_class = per_class
    output = _output(generator)
    found = assign(head.grid, BOXES, LABELS, BATCH, per_class)
    target = dict(zip(found.positive.tolist(), found.target.tolist()))
    ignored = set(found.ignored.tolist())
    assert target and ignored
    cls = box = turned = 0.0
    counts = [0, 0, 0]
    for anchor in range(3 * 4 * 64):
        scene, kind, row, column = anchor // 256, anchor // 64 % 4, anchor // 8 % 8, anchor % 8
        if anchor in ignored:
            continue
        wanted = torch.zeros(2, dtype=torch.float64)
        if anchor in target:
            counts[scene] += 1
            wanted[LABELS[target[anchor]]] = 1
            place = [torch.tensor([value]) for value in (kind, row, column)]
            delta = encode(BOXES[target[anchor]].double(), head.grid.boxes(*place)[0].double())
            error = output.box_map[scene, kind, :, row, column] - delta
            error[6] = error[6].sin()
            box += torch.where(error.abs() < 1 / 9, 4.5 * error**2, error.abs() - 1 / 18).sum()
            half = direction_of(BOXES[target[anchor], 6])
            turned -= output.direction[scene, kind, :, row, column].log_softmax(0)[half]
        p = output.logits[scene, kind, :, row, column].sigmoid()
        cls -= (0.25 * wanted * (1 - p) ** 2 * p.log() + 0.75 * (1 - wanted) * p**2 * (1 - p).log()).sum()
    assert counts[1] == 0
    count = sum(max(1, each) for each in counts)
    losses = head.loss(output, BOXES, LABELS, BATCH)
    expected = {"cls": cls / count, "box": 2 * box / count, "dir": 0.2 * turned / count}
    assert list(losses) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-6, atol=1e-9)


def test_gradients(head, generator):
    output = _output(generator, scenes=1)
    maps = [value[..., :3, :3].clone().requires_grad_() for value in (output.logits, output.box_map, output.direction)]
    small = AnchorHead(4, ANCHORS, (2.0, -3.0, 5.0, 0.0), (3, 3))

    def total(*maps):
        return torch.stack([*small.loss(HeadOutput(*maps), BOXES[:1], LABELS[:1], BATCH[:1]).values()])

    assert (total(*maps) > 0).all()
    assert torch.autograd.gradcheck(total, maps)


def _perfect(head):
    found = assign(head.grid, BOXES, LABELS, BATCH)
    scene, kind, row, column = head._cell(found.positive)
    logits, box_map, direction = (
        torch.full((3, 4, size, *SHAPE), fill) for size, fill in ((2, -12.0), (7, 0.0), (2, 0.0))
    )
    logits[scene, kind, LABELS[found.target], row, column] = 12
    box_map[scene, kind, :, row, column] = encode(BOXES[found.target], head.grid.boxes(kind, row, column))
    direction[scene, kind, direction_of(BOXES[found.target, 6]), row, column] = 5
    return HeadOutput(logits, box_map, direction)


def test_a_perfect_output_gives_the_boxes(head):
    output = _perfect(head)
    assert sum(head.loss(output, BOXES, LABELS, BATCH).values()) < 0.02
    for scene, found in enumerate(head.predict(output)):
        mine = scene == BATCH
        order = found["boxes"][:, 0].argsort()
        expected = BOXES[mine]
        torch.testing.assert_close(found["boxes"][order][:, :6], expected[:, :6], rtol=1e-4, atol=1e-4)
        turn = found["boxes"][order][:, 6] - expected[:, 6]
        torch.testing.assert_close(turn.cos(), torch.ones_like(turn))
        assert found["labels"][order].tolist() == LABELS[mine].tolist()


def test_a_box_turned_round_costs_its_direction_only(head):
    output = _perfect(head)
    turned = BOXES.clone()
    turned[:, 6] += math.pi
    before, after = (head.loss(output, boxes, LABELS, BATCH) for boxes in (BOXES, turned))
    torch.testing.assert_close(before["box"], after["box"])
    torch.testing.assert_close(before["cls"], after["cls"])
    assert after["dir"] > 10 * before["dir"]


def test_caps_of_prediction(head):
    output = _perfect(head)
    head.max_boxes = 1
    assert [len(found["boxes"]) for found in head.predict(output)] == [1, 0, 1]
    head.score_threshold = 1.0
    assert [len(found["boxes"]) for found in head.predict(output)] == [0, 0, 0]


def test_one_convolution_is_three(head):
    x = torch.randn(2, 4, *SHAPE)
    output = head(x)
    for conv, value in zip((head.conv_cls, head.conv_reg, head.conv_dir_cls), vars(output).values()):
        torch.testing.assert_close(value.flatten(1, 2), F.conv2d(x, conv.weight, conv.bias))
    assert torch.allclose(output.logits.sigmoid().mean(), torch.tensor(0.01), atol=0.002), "the scores start low"
