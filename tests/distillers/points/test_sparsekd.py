import pytest
import torch
import torch.nn.functional as F

from structkd import Structure
from structkd.distillers import SparseKD
from structkd.distillers.points.objects import object_cells
from structkd.distillers.points.sparsekd import highest, pivotal_loss
from structkd.errors import ConfigError, WiringError

RANGE = (0, 0, -3, 10, 8, 1)
BOXES = torch.tensor([[2.5, 2.5, -1, 3, 2, 1.5, 0.3], [8.5, 6.5, -1, 1, 1, 1.7, 0.1], [5.5, 3.5, -1, 4, 2, 1.5, 2]])


def targets(batch=(0, 0, 1)):
    count = len(batch)
    return {"boxes": BOXES[:count], "labels": torch.arange(count), "boxes_batch": torch.tensor(batch).long()}


def side(scenes=2, anchors=1, size=(8, 10), columns=8, **fields):
    return Structure(
        logits=torch.randn(scenes, anchors, 3, *size), box_map=torch.randn(scenes, anchors, columns, *size), **fields
    )


def test_scores_by_hand():
    """Two cells of one class: errors .04 and .25, weights .3 and .1."""
    p_s, p_t = torch.tensor([0.5, 0.7]).view(1, 1, 1, 1, 2), torch.tensor([0.3, 0.2]).view(1, 1, 1, 1, 2)
    mask = torch.tensor([[[0.3, 0.1]]])
    assert pivotal_loss(p_s, p_t, mask).item() == pytest.approx((0.3 * 0.04 + 0.1 * 0.25) / 0.4)


def test_scores_against_loops():
    student, teacher = side(anchors=2, **targets()), side(anchors=2)
    losses = SparseKD(RANGE, score_weight=15.0, box_weight=0)(student, teacher)
    heat = object_cells(student, (0, 0, 10, 8), (8, 10)).heat(2, (8, 10))
    expected = 0
    for b in range(2):
        above, below = 0, 0
        for i in range(8):
            for j in range(10):
                p_s, p_t = (z.logits[b, :, :, i, j].sigmoid() for z in (student, teacher))
                m = p_t.max() * heat[b, i, j]
                above, below = above + m * (p_s - p_t).square().sum(), below + m
        expected = expected + 15 * above / below / 2
    assert losses.keys() == {"score"} and torch.allclose(losses["score"], expected)


def test_gradient():
    p_t, mask = torch.rand(2, 1, 2, 2, 2, dtype=torch.float64), torch.rand(2, 2, 2, dtype=torch.float64)
    mask[1] = 0
    p_s = torch.rand(2, 1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: pivotal_loss(p, p_t, mask), p_s)


def test_boxes_are_compared_at_centres_by_the_teachers_anchor():
    student, teacher = side(anchors=2, **targets()), side(anchors=2)
    teacher.logits[0, 1, 0, 2, 2] = teacher.logits[0, 0, 1, 6, 8] = teacher.logits[1, 1, 2, 3, 5] = 9
    losses = SparseKD(RANGE, score_weight=0, box_weight=0.2)(student, teacher)
    error = (student.box_map - teacher.box_map).abs().sum(2)
    expected = ((error[0, 1, 2, 2] + error[0, 0, 6, 8]) / 2 + error[1, 1, 3, 5]) / 2
    assert losses.keys() == {"box"} and torch.allclose(losses["box"], 0.2 * expected)


def test_only_the_surest_cells():
    confidence = torch.tensor([[[0.1, 0.9], [0.5, 0.2]]])
    assert highest(confidence, 2).tolist() == [[[0, 1], [1, 0]]]
    assert highest(confidence, 9).min() == 1
    student, teacher = side(**targets()), side()
    teacher.logits[0, 0, 0, 2, 2] = teacher.logits[1, 0, 0, 3, 5] = 9  # at centres, where the Gaussian is 1
    losses = SparseKD(RANGE, score_weight=1.0, box_weight=0, rank=1)(student, teacher)
    error = (student.logits.sigmoid() - teacher.logits.sigmoid()).square().sum((1, 2))
    assert torch.allclose(losses["score"], (error[0, 2, 2] + error[1, 3, 5]) / 2)


def test_zero_at_equality_and_without_objects():
    student = side(**targets())
    assert all(value.item() == 0 for value in SparseKD(RANGE)(student, student).values())
    empty = side(boxes=BOXES[:0], labels=torch.zeros(0).long(), boxes_batch=torch.zeros(0).long())
    empty.logits.requires_grad_()
    losses = SparseKD(RANGE)(empty, side())
    sum(losses.values()).backward()
    assert losses.keys() == {"score", "box"} and all(value.item() == 0 for value in losses.values())
    assert not empty.logits.grad.any()


def test_a_scene_is_judged_alike_beside_any_other():
    student, teacher = side(**targets((0, 0, 2))), side()
    parts = []
    for index, rows in ((0, slice(0, 2)), (1, slice(2, 3))):
        own = {"boxes": BOXES[rows], "labels": torch.arange(3)[rows], "boxes_batch": torch.zeros(3).long()[rows]}
        maps = [{name: s[name][index : index + 1] for name in ("logits", "box_map")} for s in (student, teacher)]
        parts.append((Structure(**maps[0], **own), Structure(**maps[1])))
    nothing = side(1)
    joined = [
        Structure(
            **{name: torch.cat([s[name][:1], nothing[name], s[name][1:]]) for name in ("logits", "box_map")}, **fields
        )
        for s, fields in ((student, targets((0, 0, 2))), (teacher, {}))
    ]
    distiller = SparseKD(RANGE)
    together, alone = distiller(*joined), [distiller(*pair) for pair in parts]
    for name in together:
        assert torch.allclose(together[name], (alone[0][name] + alone[1][name]) / 2)


def test_another_grid():
    student, teacher = side(size=(4, 5), **targets()), side(size=(8, 10))
    small = F.interpolate(teacher.logits[:, 0].sigmoid(), (4, 5), mode="bilinear")[:, None]
    losses = SparseKD(RANGE, box_weight=0)(student, teacher)
    expected = SparseKD(RANGE, box_weight=0)(student, Structure(logits=small.logit()))
    assert torch.allclose(losses["score"], expected["score"], rtol=1e-4)


def test_the_detection_may_say_what_the_maps_cover():
    class Detection:
        bounds = (0, 0, 10, 8)

    student, teacher = side(**targets()), side()
    expected = SparseKD(RANGE)(student, teacher)
    with pytest.raises(WiringError, match="SparseKD reads detection of the student"):
        SparseKD()(student, teacher)
    student.detection = Detection()
    assert all(torch.equal(value, expected[name]) for name, value in SparseKD()(student, teacher).items())


@pytest.mark.parametrize("options", [{"point_range": (0, 1)}, {"score_weight": -1}, {"box_weight": -1}, {"rank": 0}])
def test_bad_settings_are_refused(options):
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        SparseKD(**options)
