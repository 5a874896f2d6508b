import pytest
import torch

from structkd.engine.class_accuracy import ClassAccuracy, shot_groups


def test_groups_by_training_examples():
    groups = shot_groups(torch.tensor([101, 100, 20, 19, 1, 500]))
    assert {name: classes.tolist() for name, classes in groups.items()} == {
        "many": [0, 5],
        "medium": [1, 2],
        "few": [3, 4],
    }
    assert list(shot_groups(torch.tensor([50, 60]))) == ["medium"]


def ranked(y, rank, num_classes):
    """Logits that put the label `y` at place `rank` (0 = best)."""
    logits = torch.arange(num_classes, 0, -1).float().repeat(len(y), 1)
    order = [[c for c in range(num_classes) if c != label] for label in y]
    for others, label, place in zip(order, y, rank, strict=True):
        others.insert(place, label)
    return torch.empty_like(logits).scatter_(1, torch.tensor(order), logits)


def feed(metric, y, rank, num_classes, split="test"):
    sample = dict(logits=ranked(y, rank, num_classes), y=torch.tensor(y), splits={split: torch.arange(len(y))})
    metric.process(None, [sample])


def test_figures_by_hand():
    groups = dict(many=torch.tensor([0, 1]), few=torch.tensor([2, 11]))
    metric = ClassAccuracy(12, groups)
    feed(metric, [0, 0, 0, 1], [0, 0, 4, 5], 12)
    feed(metric, [2, 2, 5], [0, 1, 11], 12)
    feed(metric, [1], [0], 12, "val")
    assert metric.evaluate(1) == pytest.approx(
        {
            "test/accuracy": 3 / 7,
            "test/top5": 5 / 7,
            "test/accuracy many": (2 / 3 + 0) / 2,  # the mean over classes, not over images
            "test/accuracy few": 1 / 2,  # class 11 has no test image
            "val/accuracy": 1,
            "val/top5": 1,
            "val/accuracy many": 1,
        }
    )
    assert metric.evaluate(1) == {}


def test_few_classes_have_no_top5():
    metric = ClassAccuracy(9)
    feed(metric, [0, 3], [1, 0], 9)
    assert metric.evaluate(1) == {"test/accuracy": 0.5}
    metric = ClassAccuracy(2)
    feed(metric, [0, 1], [0, 0], 2)
    assert metric.evaluate(1) == {"test/accuracy": 1.0}


def test_rows_of_a_split():
    metric = ClassAccuracy(3)
    logits = ranked([0, 1, 2], [0, 1, 0], 3)
    splits = {"val": torch.tensor([1]), "test": torch.tensor([0, 2]), "none": torch.tensor([], dtype=torch.int64)}
    metric.process(None, [dict(logits=logits, y=torch.tensor([0, 1, 2]), splits=splits)])
    assert metric.evaluate(1) == {"val/accuracy": 0.0, "test/accuracy": 1.0}
