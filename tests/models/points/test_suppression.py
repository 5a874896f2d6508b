import torch

from structkd.models.points.suppression import best_boxes


def test_within_a_class_only_and_best_first():
    box = [5.0, 0, 0, 4, 2, 1.5, 0.3]
    boxes = torch.tensor([box, box, box, [20, *box[1:]]])
    scores, labels = torch.tensor([0.5, 0.9, 0.7, 0.6]), torch.tensor([0, 0, 1, 0])
    found = best_boxes(boxes, scores, labels, 0.1, 10)
    torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.7, 0.6]))
    assert found["labels"].tolist() == [0, 1, 0]
    assert torch.equal(found["boxes"], boxes[[1, 2, 3]])
    assert best_boxes(boxes, scores, labels, 0.1, 2)["labels"].tolist() == [0, 1]
    assert best_boxes(boxes[:0], scores[:0], labels[:0], 0.1, 2)["boxes"].shape == (0, 7)
