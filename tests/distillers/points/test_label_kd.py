import pytest
import torch

from structkd import Structure
from structkd.distillers import LabelKD
from structkd.errors import ConfigError, DataError


def box(x, y, columns=7):
    return [float(x), float(y), -1.0, 4.0, 2.0, 1.5, 0.2, 3.0, 4.0][:columns]


def found(*boxes, columns=7):
    """Predictions of one scene from (x, y, score, label)."""
    return {
        "boxes": torch.tensor([box(x, y, columns) for x, y, _, _ in boxes]).view(-1, columns),
        "scores": torch.tensor([score for _, _, score, _ in boxes]),
        "labels": torch.tensor([label for _, _, _, label in boxes], dtype=torch.int64),
    }


def labelled(*boxes, columns=7):
    """A student's side from (x, y, label, scene)."""
    return Structure(
        boxes=torch.tensor([box(x, y, columns) for x, y, _, _ in boxes]).view(-1, columns),
        labels=torch.tensor([label for _, _, label, _ in boxes], dtype=torch.int64),
        boxes_batch=torch.tensor([scene for _, _, _, scene in boxes], dtype=torch.int64),
    )


class Detection:
    def __init__(self, predictions=(), weight=None):
        self.predictions, self.weight = list(predictions), weight

    def predict(self):
        return self.predictions

    def loss(self, *merged):
        self.merged = merged
        return {"cls": self.weight * len(merged[0]), "box": self.weight * 0}


def test_sure_boxes_join_behind_the_labels_of_their_scene():
    student = labelled((10, 0, 1, 0), (20, 0, 0, 1))
    scenes = [found((30, 5, 0.9, 2), (40, 5, 0.59, 2)), found(), found((50, 0, 0.7, 1))]
    boxes, labels, scene = LabelKD().merged(student, scenes)
    assert boxes[:, 0].tolist() == [10, 30, 20, 50]
    assert labels.tolist() == [1, 2, 0, 1] and scene.tolist() == [0, 0, 1, 2]


def test_boxes_on_a_label_are_left_out():
    student = labelled((10, 0, 1, 0), (20, 0, 0, 1))
    # A box moved by 3 m along its 4 m overlaps by about 1/7; the same place in another scene is free.
    scenes = [found((10, 0, 0.9, 1), (13, 0, 0.9, 0), (20, 0, 0.9, 0)), found((10, 0, 0.9, 1))]
    kept = {overlap: LabelKD(overlap=overlap).merged(student, scenes)[0][:, 0].tolist() for overlap in (0.0, 0.2, 1.0)}
    assert kept == {0.0: [10, 20, 20, 10], 0.2: [10, 13, 20, 20, 10], 1.0: [10, 10, 13, 20, 20, 10]}


def test_a_score_for_each_class():
    scenes = [found((10, 0, 0.7, 0), (20, 0, 0.7, 1), (30, 0, 0.7, 2))]
    nothing = labelled()
    assert LabelKD(scores=(0.6, 0.8, 0.5)).merged(nothing, scenes)[1].tolist() == [0, 2]
    with pytest.raises(DataError, match="class 2, but scores names 2 classes"):
        LabelKD(scores=(0.6, 0.8)).merged(nothing, scenes)


def test_columns_of_velocities():
    scenes = [found((30, 0, 0.9, 0), columns=9)]
    boxes = LabelKD().merged(labelled((10, 0, 1, 0)), scenes)[0]
    assert boxes.shape == (2, 7)
    boxes = LabelKD().merged(labelled((10, 0, 1, 0), columns=9), [found((30, 0, 0.9, 0))])[0]
    assert boxes[0, 7:].tolist() == [3, 4] and boxes[1, 7:].isnan().all()


def test_the_loss_is_the_students_own():
    weight = torch.ones((), requires_grad=True)
    student = labelled((10, 0, 1, 0))
    student.detection = Detection(weight=weight)
    losses = LabelKD()(student, Structure(detection=Detection([found((30, 0, 0.9, 2))])))
    assert {name: value.item() for name, value in losses.items()} == {"cls": 2, "box": 0}
    losses["cls"].backward()
    assert weight.grad == 2
    assert [value.tolist() for value in student.detection.merged[1:]] == [[1, 2], [0, 0]]


def test_nothing_at_all():
    boxes, labels, scene = LabelKD().merged(labelled(), [found(), found()])
    assert boxes.shape == (0, 7) and labels.shape == scene.shape == (0,)
    assert LabelKD().merged(labelled(), [])[0].shape == (0, 7)


def test_a_scene_without_a_prediction_is_an_error():
    with pytest.raises(DataError, match="scene 1, the teacher predicts 1"):
        LabelKD().merged(labelled((10, 0, 1, 1)), [found()])


@pytest.mark.parametrize("options", [{"scores": 1.5}, {"scores": ()}, {"scores": (0.5, -0.1)}, {"overlap": -1}])
def test_bad_settings_are_refused(options):
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        LabelKD(**options)
