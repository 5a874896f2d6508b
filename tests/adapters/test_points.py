import pytest
import torch
from torch import nn

from structkd.adapters import DetectorAdapter
from structkd.datasets import Scenes
from structkd.errors import WiringError
from structkd.models.points.detector import Detection, Detector, Elements


class Toy(Detector):
    """Every point is a pillar."""

    def __init__(self, head=True):
        super().__init__()
        self.encoder = nn.Linear(4, 3)
        self.head = head

    def forward(self, scenes):
        x = self.encoder(scenes.points)
        count = torch.ones(x.size(0))
        pillars = Elements(x, scenes.points[:, :3], scenes.batch, torch.arange(x.size(0)), count)
        logits = torch.zeros(scenes.num_scenes, 2, 3, 4, 5) if self.head else None
        box_map = torch.zeros(scenes.num_scenes, 2, 7, 4, 5) if self.head else None
        neck = torch.ones(scenes.num_scenes, 6, 4, 5)
        return Detection(scenes.num_scenes, {"pillars": pillars}, {"neck": neck}, logits, box_map)


@pytest.fixture
def scenes():
    return Scenes(
        points=torch.rand(7, 4),
        batch=torch.tensor([0, 0, 0, 1, 1, 1, 1]),
        num_scenes=2,
        boxes=torch.rand(2, 7),
        labels=torch.tensor([0, 2]),
        boxes_batch=torch.tensor([0, 1]),
        n_id=torch.arange(2),
    )


def test_reads_elements_maps_head_and_taps(scenes):
    model = Toy()
    adapter = DetectorAdapter("pillars", maps=["neck"], head=True, taps={"inner": "encoder"})
    adapter.check(model)
    structure = adapter(model, scenes)
    assert adapter.provides == structure.provides
    assert torch.equal(structure.x, model.encoder(scenes.points))
    assert torch.equal(structure.inner, structure.x)
    assert torch.equal(structure.batch, scenes.batch) and torch.equal(structure.pos, scenes.points[:, :3])
    assert structure.neck.shape == (2, 6, 4, 5) and structure.logits.shape == (2, 2, 3, 4, 5)
    assert torch.equal(structure.boxes, scenes.boxes) and torch.equal(structure.labels, scenes.labels)
    assert structure.detection.num_scenes == 2


def test_gives_only_what_is_asked_for(scenes):
    structure = DetectorAdapter()(Toy(), scenes)
    assert structure.provides == DetectorAdapter().provides == {"detection", "boxes", "labels", "boxes_batch"}


@pytest.mark.parametrize(
    "adapter, message",
    [
        (DetectorAdapter("voxels"), "Toy has no set of elements 'voxels'.*pillars"),
        (DetectorAdapter(maps=["nek"]), "Toy has no map 'nek'.*neck"),
    ],
)
def test_what_the_detector_does_not_have(adapter, message, scenes):
    with pytest.raises(WiringError, match=message):
        adapter(Toy(), scenes)


def test_no_dense_head(scenes):
    with pytest.raises(WiringError, match="no dense head"):
        DetectorAdapter(head=True)(Toy(head=False), scenes)


def test_wrong_tap_is_found_before_any_pass():
    with pytest.raises(WiringError, match="encoder"):
        DetectorAdapter(taps={"inner": "encodr"}).check(Toy())
