"""Whole detectors: what PointPillars and SECOND have in common."""

import pytest
import torch

from structkd.datasets.points.scenes import Scenes
from structkd.errors import ConfigError, DataError
from structkd.models.points import SECOND, PointPillars
from structkd.ops import iou_3d


@pytest.mark.parametrize(
    ("kind", "width", "count"),
    [
        (PointPillars, 1, 4_834_888), (PointPillars, 0.5, 1_217_352), (PointPillars, 0.25, 308_680),
        (SECOND, 1, 5_325_576), (SECOND, 0.5, 1_342_824), (SECOND, 0.25, 341_448),
    ],
)  # fmt: skip
def test_as_many_parameters_as_published(kind, width, count):
    assert sum(p.numel() for p in kind(width=width).parameters()) == count


@pytest.mark.parametrize("head", ["anchor", "center"])
def test_overfits_and_finds_the_boxes(make, random_frame, train, head):
    scenes = Scenes.from_frames([random_frame(1)])
    model = make(head=head, head_options=dict(channels=16) if head == "center" else None)
    losses = train(model, scenes, steps=60)
    assert losses[-1] < losses[0] / 10
    for scene, found in enumerate(model(scenes).predict()):
        boxes, labels = (value[scenes.boxes_batch == scene] for value in (scenes.boxes, scenes.labels))
        assert (found["scores"].diff() <= 0).all()
        same = found["labels"][:, None] == labels
        overlap, match = (iou_3d(found["boxes"], boxes) * same).max(0)
        assert (overlap > 0.5).all(), overlap
        turn = found["boxes"][match, 6] - boxes[:, 6]
        assert (turn.cos() > 0.8).all(), "headings, not only axes"


def test_what_a_pass_finds(make, scenes):
    detection = make(width=0.5)(scenes)
    maps = detection.maps
    assert list(maps) == ["canvas", "backbone_0", "backbone_1", "neck"]
    assert detection.logits.shape == (2, 6, 3, *maps["neck"].shape[2:])
    assert detection.box_map.shape == (2, 6, 7, *maps["neck"].shape[2:])
    assert detection.bounds == (0, -10.24, 20.48, 10.24)
    (elements,) = detection.elements.values()
    count = elements.x.size(0)
    assert elements.pos.shape == (count, 3) and elements.importance.shape == (count,)
    assert elements.n_id.unique().numel() == count and (elements.n_id.diff() > 0).all()
    inside = (scenes.points[:, :3] >= torch.tensor([0, -10.24, -3])) & (
        scenes.points[:, :3] < torch.tensor([20.48, 10.24, 1])
    )
    assert elements.importance.sum() == inside.all(1).sum()


@pytest.mark.parametrize("head", ["anchor", "center"])
def test_a_scene_is_the_same_in_any_company(make, random_frame, head):
    model = make(head=head).eval()
    frames = [random_frame(seed, objects=seed) for seed in range(3)]
    together = model(Scenes.from_frames(frames))
    for scene, frame in enumerate(frames):
        alone = model(Scenes.from_frames([frame]))
        torch.testing.assert_close(alone.logits[0], together.logits[scene], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.box_map[0], together.box_map[scene], rtol=1e-4, atol=1e-5)
        for name, elements in alone.elements.items():
            mine = together.elements[name].batch == scene
            torch.testing.assert_close(elements.x, together.elements[name].x[mine], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", ["anchor", "center"])
def test_gradients_reach_every_parameter(make, scenes, head):
    model = make(head=head)
    sum(model(scenes).loss(scenes.boxes, scenes.labels, scenes.boxes_batch).values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize("head", ["anchor", "center"])
@pytest.mark.parametrize("training", [True, False])
def test_scans_without_points_and_scenes_without_objects(make, frame, head, training):
    model = make(head=head).train(training)
    nothing = frame([], [], background=0)
    for frames in ([nothing], [nothing, nothing], [nothing, frame([], [])], [frame([], [], background=1)]):
        batch = Scenes.from_frames(frames)
        detection = model(batch)
        losses = detection.loss(batch.boxes, batch.labels, batch.boxes_batch)
        total = sum(losses.values())
        total.backward()
        assert total.isfinite() and losses["box"] == 0
        assert all(value.isfinite().all() for value in model.state_dict().values())
        found = detection.predict()
        assert len(found) == len(frames) and all(set(each) == {"boxes", "scores", "labels"} for each in found)


def test_two_scenes_without_objects_weigh_as_one_anchor_each(pointpillars, frame):
    model = pointpillars().eval()
    one, two = (Scenes.from_frames([frame([], [])] * count) for count in (1, 2))
    a, b = (model(batch).loss(batch.boxes, batch.labels, batch.boxes_batch)["cls"] for batch in (one, two))
    torch.testing.assert_close(a, b)


def test_same_seed_same_training(make, scenes, train):
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        runs.append(train(make(), scenes, steps=3))
    assert runs[0] == runs[1]


def test_wrong_input(make, scenes):
    model = make()
    detection = model(scenes)
    with pytest.raises(DataError, match="knows 3 classes"):
        detection.loss(scenes.boxes, scenes.labels + 1, scenes.boxes_batch)
    with pytest.raises(DataError, match=r"\[M, 7 or more\]"):
        detection.loss(scenes.boxes[:, :5], scenes.labels, scenes.boxes_batch)
    wide = torch.zeros(3, 5)
    with pytest.raises(DataError, match="5 columns"):
        model(Scenes(points=wide, batch=torch.zeros(3, dtype=torch.int64), num_scenes=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(strides=(1, 3)), "not divisible by 3"),
        (dict(neck_strides=(1, 1)), "must be equal"),
        (dict(layer_nums=(1,)), "one number"),
        (dict(head="dense"), "expected 'anchor' or 'center'"),
        (dict(head="center", anchors={"Car": dict(size=(1, 1, 1), z=0, positive=1, negative=1)}), "no anchors"),
        (dict(classes=("Tram",)), "no anchor for class 'Tram'"),
        (dict(anchors={"Tram": dict(size=(1, 1, 1), z=0, positive=1, negative=1)}), "not among the classes"),
        (dict(voxelization="soft"), "'dynamic' or 'hard'"),
        (dict(width=0.001), "leaves no channel"),
        (dict(voxel_size=(0.3, 0.3, 4)), "whole number"),
    ],
)
def test_wrong_options(make, options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_second_refuses_grids_its_encoder_cannot_halve():
    with pytest.raises(ConfigError, match="not divisible by 8"):
        SECOND(voxel_size=(0.4, 0.4, 0.1), point_range=(0, -4, -3, 4, 4, 1))
    with pytest.raises(ConfigError, match="11 layers"):
        SECOND(voxel_size=(0.05, 0.05, 0.4))


def test_pillars_are_as_high_as_the_range():
    with pytest.raises(ConfigError, match="2 of them one above the other"):
        PointPillars(voxel_size=(0.16, 0.16, 2))


def test_hard_voxelisation_is_dynamic_below_its_caps(make, scenes):
    dynamic, hard = make().eval(), make(voxelization="hard", max_points=500).eval()
    hard.load_state_dict(dynamic.state_dict())
    a, b = dynamic(scenes), hard(scenes)
    # With fresh batch norm a padded row becomes zero, which no maximum behind a ReLU notices.
    torch.testing.assert_close(a.logits, b.logits, rtol=1e-4, atol=1e-5)
    capped = make(voxelization="hard", max_points=1, max_voxels=(10, 20)).eval()
    (elements,) = capped(scenes).elements.values()
    assert elements.importance.sum() <= 40
    (elements,) = capped.train()(scenes).elements.values()
    assert elements.importance.sum() <= 20


def test_more_columns_and_other_classes(make, frame):
    boxes = [[8, 0, -1.7, 4.5, 1.9, 1.7, 0.3, 1.5, 0.2], [12, 4, -1.7, 9, 2.9, 3.8, -1, float("nan"), float("nan")]]
    names = [f"class{i}" for i in range(10)]
    frames = [frame(boxes, [0, 7], columns=5)]
    batch = Scenes.from_frames(frames)
    model = make(classes=names, point_channels=5, head="center", head_options=dict(velocity=True))
    detection = model(batch)
    losses = detection.loss(batch.boxes, batch.labels, batch.boxes_batch)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert detection.logits.size(2) == 10 and detection.box_map.size(2) == 10
    with pytest.raises(DataError, match="9 columns"):
        detection.loss(batch.boxes[:, :7], batch.labels, batch.boxes_batch)
    with pytest.raises(ConfigError, match="no anchor"):
        make(classes=names)


def test_frames_are_read_as_they_are(make, scenes):
    before = scenes.points.clone()
    make()(scenes)
    assert torch.equal(before, scenes.points)
