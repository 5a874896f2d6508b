import copy
import math

import pytest
import torch

from structkd.datasets.points.scenes import Scenes
from structkd.errors import ConfigError, DataError
from structkd.models.points import Detection, PointRCNN
from structkd.ops import iou_3d

SMALL = dict(
    point_range=(0, -20, -3, 40, 20, 1),
    num_points=400,
    level_points=(96, 24),
    radii=((0.5, 1.5), (1.5, 4.0)),
    num_samples=((8, 8), (8, 8)),
    sa_channels=(((16, 16), (16, 16)), ((32, 32), (32, 32))),
    fp_channels=((32, 32), (32, 32)),
    head_channels=(32,),
    proposals=(300, 48, 48),
    proposal_thresholds=(0.7, 0.7),
    regions_per_scene=16,
    region_points=24,
    region_channels=(32,),
    region_level_points=(16,),
    region_radii=(0.8,),
    region_num_samples=(8,),
    region_sa_channels=((32,), (64,)),
)
BOXES = torch.tensor(
    [
        [10.0, 3, -1.7, 3.9, 1.6, 1.5, 0.4],
        [22, -6, -1.7, 4.2, 1.7, 1.6, -1.2],
        [8, -5, -1.7, 0.8, 0.7, 1.75, 0.1],
        [15, 8, -1.7, 1.8, 0.6, 1.7, 2.0],
    ]
)
LABELS, SCENE = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 0, 0, 1])


def _surface(box, generator, count=60):
    """Points on the front, the left and the top of a box."""
    at = torch.rand(count, 3, generator=generator) - torch.tensor([0.5, 0.5, 0])
    face = torch.randint(3, (count,), generator=generator)
    at[face == 0, 0], at[face == 1, 1], at[face == 2, 2] = -0.5, 0.5, 1
    x, y, z = (at * box[3:6] * 0.98).unbind(1)
    cos, sin = math.cos(box[6]), math.sin(box[6])
    return torch.stack([x * cos - y * sin, x * sin + y * cos, z], 1) + box[:3]


def _scenes(boxes=BOXES, labels=LABELS, scene=SCENE, count=2, ground=120):
    generator = torch.Generator().manual_seed(0)
    clouds = []
    for i in range(count):
        flat = torch.rand(ground, 2, generator=generator) * 40 - torch.tensor([0, 20])
        parts = [torch.cat([flat, torch.full((ground, 1), -1.75)], 1)]
        cloud = torch.cat(parts + [_surface(box, generator) for box in boxes[scene == i]])
        clouds.append(torch.cat([cloud, torch.rand(len(cloud), 1, generator=generator)], 1))
    return Scenes(
        points=torch.cat(clouds),
        batch=torch.arange(count).repeat_interleave(torch.tensor([len(cloud) for cloud in clouds])),
        num_scenes=count,
        boxes=boxes,
        labels=labels,
        boxes_batch=scene,
        n_id=torch.arange(count),
        frame_id=[str(i) for i in range(count)],
    )


def _losses(model, scenes):
    return model(scenes).loss(scenes.boxes, scenes.labels, scenes.boxes_batch)


@pytest.fixture(scope="module")
def overfitted():
    """A small model that has learnt two scenes by heart, and its losses at the first and the last step."""
    torch.manual_seed(0)
    model, scenes = PointRCNN(**SMALL), _scenes()
    optimizer, history = torch.optim.Adam(model.parameters(), 0.01), []
    for _ in range(100):
        losses = _losses(model, scenes)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in losses.items()})
    return model, history


@pytest.fixture
def model(overfitted):
    return copy.deepcopy(overfitted[0])


def test_losses_fall(overfitted):
    _, history = overfitted
    assert set(history[0]) == {"point_cls", "point_box", "roi_cls", "roi_box", "roi_corner"}
    assert history[-1]["point_cls"] < 0.05 * history[0]["point_cls"]
    assert history[-1]["point_box"] < 0.15 * history[0]["point_box"]
    # At first no proposal overlaps an object; later the second stage has something to learn, and learns it.
    assert history[0]["roi_box"] == 0 and 0 < history[-1]["roi_box"] < 0.2


def test_predictions_are_the_objects(model):
    model.eval()
    for scene, found in enumerate(model(_scenes()).predict()):
        mine = scene == SCENE
        overlap, best = iou_3d(BOXES[mine], found["boxes"]).max(1)
        assert overlap.mean() > 0.5 and overlap.min() > 0.3
        assert torch.equal(found["labels"][best], LABELS[mine])
        scores = found["scores"].tolist()
        assert scores == sorted(scores, reverse=True) and scores[-1] >= 0.1 and scores[0] <= 1
        assert found["scores"][best].min() > 0.4


def test_every_parameter_learns(model):
    sum(_losses(model.train(), _scenes()).values()).backward()
    for name, parameter in model.named_parameters():
        # What a bias adds, the batch norm after it takes away.
        cancelled = name.startswith("backbone.down") and ".lins." in name and name.endswith("bias")
        assert parameter.grad is not None and (cancelled or bool(parameter.grad.abs().sum() > 0)), name


def test_second_stage_passes_nothing_to_the_first(model):
    losses = _losses(model.train(), _scenes())
    (losses["roi_cls"] + losses["roi_box"] + losses["roi_corner"]).backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert all(parameter.grad is None for parameter in model.point_head.parameters())


def test_elements_are_the_sampled_points():
    scenes = _scenes(ground=500)
    found, student = PointRCNN(**SMALL)(scenes), PointRCNN(**SMALL, width=0.5)(scenes)
    points = found.elements["points"]
    assert isinstance(found, Detection) and found.maps == {} and found.logits is None and found.box_map is None
    assert points.x.shape == (800, 32) and student.elements["points"].x.shape == (800, 16)
    assert torch.equal(points.pos, scenes.points[points.n_id, :3]) and points.importance is None
    assert torch.equal(points.batch, scenes.batch[points.n_id]) and points.n_id.unique().numel() == 800
    assert torch.equal(points.n_id, student.elements["points"].n_id)


def test_order_of_the_points_does_not_matter(model, generator):
    model.eval()
    scenes = _scenes()
    order = torch.randperm(len(scenes.batch), generator=generator)
    order = order[scenes.batch[order].argsort(stable=True)]
    shuffled = _scenes()
    shuffled.points = scenes.points[order]
    assert not torch.equal(shuffled.points, scenes.points)
    for one, other in zip(model(scenes).predict(), model(shuffled).predict(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_scene_is_the_same_alone_and_in_a_batch(model):
    model.eval()
    scenes = _scenes()
    alone = _scenes()
    alone.points, alone.batch, alone.num_scenes = (
        scenes.points[scenes.batch == 1],
        scenes.batch[scenes.batch == 1] * 0,
        1,
    )
    torch.testing.assert_close(model(alone).predict()[0], model(scenes).predict()[1], atol=1e-4, rtol=1e-4)


def test_same_seed_same_result_on_any_number_of_threads(model):
    found = []
    try:
        for threads in (1, 1, 2):
            torch.set_num_threads(threads)
            torch.manual_seed(5)
            losses = _losses(copy.deepcopy(model).train(), _scenes())
            found.append({name: float(value.detach()) for name, value in losses.items()})
    finally:
        torch.set_num_threads(1)
    # Batch norm adds up in another order on two threads than on one.
    assert found[0] == found[1] == pytest.approx(found[2], rel=1e-3)


@pytest.mark.parametrize("keep", [(0,), (1,), ()], ids=["second empty", "first empty", "both empty"])
@pytest.mark.parametrize("training", [True, False])
def test_empty_scans(model, keep, training):
    model.train(training)
    scenes = _scenes()
    there = torch.isin(scenes.batch, torch.tensor(keep, dtype=torch.long))
    scenes.points, scenes.batch = scenes.points[there], scenes.batch[there]
    found = model(scenes)
    for scene, boxes in enumerate(found.predict()):
        assert boxes["boxes"].shape[1] == 7 and (scene in keep or len(boxes["boxes"]) == 0)
    losses = found.loss(scenes.boxes, scenes.labels, scenes.boxes_batch)
    assert all(bool(value.isfinite()) for value in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
    assert all(bool(buffer.isfinite().all()) for buffer in model.buffers())


def test_scenes_without_objects(model):
    nothing = _scenes(BOXES[:0], LABELS[:0], SCENE[:0])
    losses = _losses(model.train(), nothing)
    assert losses["point_box"] == losses["roi_box"] == losses["roi_corner"] == 0 < losses["roi_cls"]


def test_mixed_precision(model):
    with torch.autocast("cpu", torch.bfloat16):
        losses = _losses(model.train(), _scenes())
    sum(losses.values()).backward()
    assert all(bool(value.isfinite()) for value in losses.values())


def test_published_sizes():
    sizes = {width: sum(p.numel() for p in PointRCNN(width=width).parameters()) for width in (1.0, 1 / 2.8, 0.25)}
    assert sizes == {1.0: 4_042_891, 1 / 2.8: 517_949, 0.25: 259_489}
    student = PointRCNN(width=1 / 2.8)
    assert student.backbone.out_channels == 45
    assert [level.out_channels for level in student.backbone.down] == [33, 90, 182, 364]
    assert student.backbone.down[2].mlps[0].lins[1].out_features == 70


def test_bad_input():
    with pytest.raises(ConfigError, match="leaves no channel of 16"):
        PointRCNN(**SMALL, width=0.05)
    with pytest.raises(ConfigError, match="three sizes above 0 for class 'Truck'"):
        PointRCNN(**SMALL, classes=("Car", "Truck"))
    PointRCNN(**SMALL, classes=("Car", "Truck"), mean_sizes={"Truck": (10.8, 2.7, 3.5)})
    with pytest.raises(DataError, match="4 columns; point_channels is 5"):
        PointRCNN(**SMALL, point_channels=5)(_scenes())
    scenes = _scenes()
    with pytest.raises(DataError, match="knows 2 classes"):
        PointRCNN(**SMALL, classes=("Car", "Cyclist"))(scenes).loss(BOXES, LABELS, SCENE)
