import pytest
import torch

from structkd.errors import ConfigError
from structkd.models.points.anchors import Anchor, AnchorGrid, anchors_of, kitti_anchors

CAR, WALKER = Anchor((4, 2, 1.5), -1.8, 0.6, 0.45), Anchor((0.8, 0.6, 1.7), -0.6, 0.5, 0.35)


def test_centred_on_cells_by_hand():
    grid = AnchorGrid.build([CAR, WALKER], (0, -4, 6, 4), (4, 3))
    assert grid.shape == (4, 4, 3)
    assert grid.x.tolist() == [1, 3, 5] and grid.y.tolist() == [-3, -1, 1, 3]
    boxes = grid.boxes(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 3]), torch.tensor([2, 1, 0, 0]))
    expected = [
        [5, -3, -1.8, 4, 2, 1.5, 0], [3, -1, -1.8, 4, 2, 1.5, 1.57],
        [1, 1, -0.6, 0.8, 0.6, 1.7, 0], [1, 3, -0.6, 0.8, 0.6, 1.7, 1.57],
    ]  # fmt: skip
    torch.testing.assert_close(boxes, torch.tensor(expected))


def test_from_border_to_border():
    grid = AnchorGrid.build([CAR], (0, -4, 6, 4), (5, 4), centred=False)
    assert grid.x.tolist() == [0, 2, 4, 6] and grid.y.tolist() == [-4, -2, 0, 2, 4]


def test_kitti():
    found = anchors_of(("Cyclist", "Car"), None, kitti_anchors(0.5, 0.35))
    assert found == (Anchor((1.76, 0.6, 1.73), -0.6, 0.5, 0.35), Anchor((3.9, 1.6, 1.56), -1.78, 0.6, 0.45))
    own = anchors_of(("Car",), {"Car": dict(size=(1, 2, 3), z=0, positive=0.5, negative=0.4)}, kitti_anchors(0.5, 0.35))
    assert own == (Anchor((1, 2, 3), 0, 0.5, 0.4),)


@pytest.mark.parametrize("thresholds", [(0.4, 0.5), (0.5, 0.0), (1.1, 0.5)])
def test_thresholds_that_make_no_sense(thresholds):
    with pytest.raises(ConfigError, match="0 < negative <= positive <= 1"):
        anchors_of(("Car",), None, kitti_anchors(0.5, 0.35) | {"Car": Anchor((1, 1, 1), 0, *thresholds)})
