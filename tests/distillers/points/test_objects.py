import pytest
import torch

from structkd import Structure
from structkd.distillers.points.objects import bounds_of, check_range, object_cells, paired_boxes, paired_logits
from structkd.errors import ConfigError, DataError, WiringError
from structkd.models.points.box_coder import sine_difference
from structkd.models.points.gaussian import draw_gaussians, gaussian_radius

BOUNDS = (0.0, -4.0, 12.0, 4.0)


def scenes(boxes, labels, batch):
    return Structure(
        boxes=torch.tensor(boxes).view(-1, 7), labels=torch.tensor(labels), boxes_batch=torch.tensor(batch)
    )


def test_cells_by_hand():
    """Cells of 2 m: row 0 starts at y = -4, column 0 at x = 0; what lies on the far border is off the map."""
    boxes = [[5.0, -3.9, 0, 1, 1, 1, 0], [0.0, -4.0, 0, 1, 1, 1, 0], [11.9, 3.9, 0, 1, 1, 1, 0]]
    off = [[12.0, 0.0, 0, 1, 1, 1, 0], [5.0, -4.1, 0, 1, 1, 1, 0], [5.0, 0.0, 0, 0, 1, 1, 0]]
    cells = object_cells(scenes(boxes + off, [2, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]), BOUNDS, (4, 6))
    assert cells.scene.tolist() == [0, 0, 1] and cells.label.tolist() == [2, 0, 1]
    assert cells.row.tolist() == [0, 0, 3] and cells.column.tolist() == [2, 0, 5]


def test_gaussians_are_those_of_the_detectors_whatever_the_class():
    student = scenes([[5.0, 0.5, 0, 4, 2, 1, 0], [3.0, 0.5, 0, 30, 20, 1, 0]], [2, 0], [0, 1])
    cells = object_cells(student, BOUNDS, (16, 24))
    assert torch.equal(cells.radius, gaussian_radius(student.boxes[:, 3] / 0.5, student.boxes[:, 4] / 0.5).long())
    by_class = draw_gaussians(2, 3, (16, 24), *cells[:1], cells.label, *cells[2:])
    assert torch.equal(cells.heat(2, (16, 24)), by_class.amax(1))
    assert cells.heat(2, (16, 24))[0, 9, 10] == 1


def test_scenes_without_objects():
    student = scenes([], [], [])
    cells = object_cells(
        Structure(**{**student.to_dict(), "labels": student.labels.long(), "boxes_batch": student.boxes_batch.long()}),
        BOUNDS,
        (4, 6),
    )
    assert cells.scene.numel() == 0 and not cells.heat(2, (4, 6)).any()


def test_what_the_maps_cover():
    class Detection:
        bounds = BOUNDS

    assert check_range("R", None) is None
    assert check_range("R", (0, -4, -3, 12, 4, 1)) == BOUNDS
    assert bounds_of(Structure(detection=Detection()), None, "R") == BOUNDS
    assert bounds_of(Structure(detection=Detection()), (0, 0, 1, 1), "R") == (0, 0, 1, 1)
    with pytest.raises(WiringError, match="set point_range"):
        bounds_of(Structure(), None, "R")
    for wrong in ((0, -4, 12, 4), (0, -4, -3, 0, 4, 1)):
        with pytest.raises(ConfigError, match=r"R\(point_range="):
            check_range("R", wrong)


def test_logits_that_do_not_fit_are_refused():
    z = torch.zeros(2, 6, 3, 4, 4)
    paired_logits(Structure(logits=z), Structure(logits=torch.zeros(2, 6, 3, 8, 8)), "R")
    for other in (torch.zeros(2, 2, 3, 4, 4), torch.zeros(2, 6, 1, 4, 4), torch.zeros(2, 18, 4, 4)):
        with pytest.raises(DataError, match=r"R: logits .*\(2, 6, 3, 4, 4\)"):
            paired_logits(Structure(logits=z), Structure(logits=other), "R")


@pytest.mark.parametrize("columns", [7, 8])
def test_boxes_at_places(columns):
    b_s, b_t = torch.randn(2, 2, 6, columns, 3, 4)
    place = tuple(torch.tensor(index) for index in ([0, 1, 1], [5, 0, 2], [2, 1, 0], [3, 0, 1]))
    ours, theirs = paired_boxes(Structure(box_map=b_s), Structure(box_map=b_t), "R", place)
    rows = [torch.stack([b[s, a, :, i, j] for s, a, i, j in zip(*place)]) for b in (b_s, b_t)]
    if columns == 7:  # the published loss takes headings a half turn apart for one
        rows = sine_difference(*rows)
    assert torch.equal(ours, rows[0]) and torch.equal(theirs, rows[1])
    with pytest.raises(DataError, match="box_weight=0"):
        paired_boxes(Structure(box_map=b_s), Structure(box_map=b_t[..., :2]), "R", place)
