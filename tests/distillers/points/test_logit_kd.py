import pytest
import torch
import torch.nn.functional as F

from structkd import Structure
from structkd.distillers import LogitKD
from structkd.errors import ConfigError, DataError
from structkd.losses import binary_kl_divergence


def head(scenes=2, anchors=2, classes=3, size=(4, 5), columns=7):
    return Structure(
        logits=torch.randn(scenes, anchors, classes, *size), box_map=torch.randn(scenes, anchors, columns, *size)
    )


def test_against_loops_over_anchors():
    student, teacher = head(columns=8), head(columns=8)
    losses = LogitKD(tau=2.0, threshold=0.7, class_weight=3.0, box_weight=0.5)(student, teacher)
    score, box, count = 0, 0, 0
    for b in range(2):
        kl, error, anchors = 0, 0, 0
        for a in range(2):
            for i in range(4):
                for j in range(5):
                    place = (b, a, slice(None), i, j)
                    if teacher.logits[place].sigmoid().max() <= 0.7:
                        continue
                    anchors += 1
                    kl = kl + 4 * binary_kl_divergence(student.logits[place], teacher.logits[place], 2.0).sum()
                    error = error + F.smooth_l1_loss(
                        student.box_map[place], teacher.box_map[place], beta=1 / 9, reduction="sum"
                    )
        assert 0 < anchors < 40
        score, box, count = score + kl / anchors, box + error / anchors, count + 1
    assert torch.allclose(losses["score"], 3 * score / count, rtol=1e-5)
    assert torch.allclose(losses["box"], 0.5 * box / count, rtol=1e-5)


def test_zero_at_equality_and_for_boxes_turned_by_a_half():
    side = head()
    assert all(value.item() == 0 for value in LogitKD(threshold=0)(side, side).values())
    turned = Structure(logits=side.logits, box_map=side.box_map.clone())
    turned.box_map[:, :, 6] += torch.pi
    assert LogitKD(threshold=0)(side, turned)["box"].item() < 1e-5


def test_a_scene_is_judged_alike_beside_any_other_and_background_does_not_count():
    scenes = [(head(1), head(1)) for _ in range(2)]
    silent = (head(1), head(1))
    silent[1].logits.fill_(-9)
    distiller = LogitKD(threshold=0.6)

    def join(pairs):
        return [
            Structure(**{name: torch.cat([p[side][name] for p in pairs]) for name in ("logits", "box_map")})
            for side in (0, 1)
        ]

    alone = [distiller(*pair) for pair in scenes]
    together = distiller(*join([scenes[0], silent, scenes[1]]))
    for name in ("score", "box"):
        assert torch.allclose(together[name], (alone[0][name] + alone[1][name]) / 2)
    assert all(value.item() == 0 for value in distiller(*silent).values())


def test_another_grid():
    student, teacher = head(size=(4, 5)), head(size=(8, 10))
    small = F.interpolate(teacher.logits.flatten(1, 2), (4, 5), mode="bilinear").view_as(student.logits)
    losses = LogitKD(box_weight=0, threshold=0.5)(student, teacher)
    expected = LogitKD(box_weight=0, threshold=0.5)(student, Structure(logits=small))
    assert losses.keys() == {"score"} and torch.allclose(losses["score"], expected["score"])
    with pytest.raises(DataError, match="box_weight=0"):
        LogitKD()(student, teacher)


def test_no_scene():
    student = head(0)
    student.logits.requires_grad_()
    losses = LogitKD(box_weight=0)(student, head(0))
    losses["score"].backward()
    assert losses["score"] == 0


@pytest.mark.parametrize("options", [{"tau": 0}, {"threshold": 1}, {"class_weight": -1}, {"box_weight": -1}])
def test_bad_settings_are_refused(options):
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        LogitKD(**options)
