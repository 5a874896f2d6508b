"""DistilledDetector: what is frozen, what is shared, what is compared."""

import copy

import pytest
import torch

from structkd.errors import CheckpointError, ConfigError, WiringError

POINTPILLARS = "pointpillars_to_pointpillars_16x_kitti.py"
SECOND = "second_to_second_16x_kitti.py"


@pytest.fixture
def task(small_config):
    """Builds the model of a small config, initialised as the runner does."""

    def build(name=POINTPILLARS, seed=0, **model):
        from mmengine.registry import DefaultScope

        from structkd.engine.openmmlab import read_config
        from structkd.engine.registry import MODELS

        config = read_config(small_config(name, **model))
        torch.manual_seed(seed)
        with DefaultScope.overwrite_default_scope("mmdet3d"):
            found = MODELS.build(config.model)
        found.init_weights()
        found.config = config
        return found

    return build


@pytest.fixture
def batch(stack, mm_kitti, small_config):
    """A raw batch of three frames, as mmdet3d's dataset and collate function give it."""
    from mmdet3d.registry import DATASETS
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import DefaultScope

    from structkd.engine.openmmlab import read_config

    config = read_config(small_config(POINTPILLARS))
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        dataset = DATASETS.build(config.train_dataloader.dataset.dataset)
    return pseudo_collate([dataset[i] for i in range(3)])


def losses_of(task, batch):
    return task(**task.data_preprocessor(copy.deepcopy(batch), True), mode="loss")


def step(task, batch, rate=0.01):
    optimizer = torch.optim.SGD(task.parameters(), rate)
    total, _ = task.parse_losses(losses_of(task, batch))
    total.backward()
    optimizer.step()
    return float(total.detach())


def test_the_teacher_never_changes_and_is_in_no_checkpoint(task, batch):
    model = task()
    model.train()
    teacher = model.teachers["teacher"].model
    before = copy.deepcopy(teacher.state_dict())
    first = step(model, batch)
    for _ in range(3):
        last = step(model, batch)
    assert last < first
    assert not any(module.training for module in teacher.modules())
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert {key.split(".")[0] for key in model.state_dict()} == {"student", "distillers"}
    assert len(list(model.parameters())) == len(list(model.student.parameters())) + len(
        list(model.distillers.parameters())
    )
    shadow = copy.deepcopy(model)  # what EMA hooks do
    assert shadow.teachers["teacher"].model is teacher and shadow.student is not model.student


@pytest.mark.parametrize("name", [POINTPILLARS, SECOND])
def test_equal_weights_differ_in_nothing(name, task, batch, tmp_path):
    """In eval mode: although pillar encoders write into the voxels that both sides read."""
    adapter = dict(elements="pillars", maps=["canvas", "backbone_0", "neck"], head=True)
    kinds = dict(
        head=dict(type="LogitKD", threshold=0),
        neck=dict(type="PKD", field="neck"),
        canvas=dict(type="ChannelWise", field="canvas"),
    )
    model = task(name, width=1.0, adapter=adapter, distillers=kinds)
    model.student.load_state_dict(model.teachers["teacher"].model.state_dict())
    model.eval()
    found = losses_of(model, batch)
    compared = {key: float(value) for key, value in found.items() if key.startswith("loss/")}
    assert len(compared) == 4
    assert all(abs(value) < 1e-5 for value in compared.values()), compared


def test_own_losses_are_the_detectors(task, batch):
    model = task().eval()
    theirs = model.student(**model.student.data_preprocessor(copy.deepcopy(batch), True), mode="loss")
    found = losses_of(model, batch)
    for key, value in theirs.items():
        assert torch.allclose(torch.stack(list(value)), torch.stack(list(found[key])))


def test_every_parameter_of_the_student_gets_a_gradient(task, batch):
    model = task(SECOND)
    model.train()
    total, _ = model.parse_losses(losses_of(model, batch))
    total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_channels_are_filled_in(task):
    model = task(SECOND, adapter=dict(elements="voxels", maps=["canvas", "backbone_1", "neck"]), distillers={
        field: dict(type="FitNet", field=field) for field in ("x", "canvas", "backbone_1", "neck")
    })  # fmt: skip
    sizes = {name: (each.connector.in_features, each.connector.out_features) for name, each in model.distillers.items()}
    assert sizes == {"x": (4, 4), "canvas": (64, 256), "backbone_1": (64, 256), "neck": (128, 512)}


def test_a_teacher_with_another_grid_voxelises_for_itself(task, batch):
    """SECOND teaches PointPillars: other voxels, the same points, maps on the student's grid."""
    from structkd.engine.openmmlab import read_config
    from structkd.engine.openmmlab.widths import narrowed

    second = read_config(task(SECOND).config.filename).model.teacher
    distillers = dict(neck=dict(type="PKD", field="neck"))
    pillars = task().config.model.teacher
    model = task(
        SECOND, width=None, student=narrowed(pillars, 0.25), adapter=dict(maps=["neck"]), distillers=distillers
    )
    assert model.teachers["teacher"].model.middle_encoder.in_channels == second.middle_encoder.in_channels
    assert not model.teachers["teacher"].same_grid
    assert torch.isfinite(losses_of(model, batch)["loss/neck.correlation"])


def test_labels_of_the_teacher(task, batch):
    """LabelKD takes the place of the objective: with no boxes from the teacher its loss is the student's own."""
    model = task(adapter=dict(head=True), objective_weight=0, distillers=dict(label=dict(type="LabelKD", scores=1.0)))
    model.eval()
    found = losses_of(model, batch)
    assert set(found) == {"loss/label.loss_cls", "loss/label.loss_bbox", "loss/label.loss_dir"}
    own = model.student(**model.student.data_preprocessor(copy.deepcopy(batch), True), mode="loss")
    for key, value in own.items():
        assert torch.allclose(torch.stack(list(value)).sum(), found[f"loss/label.{key}"], rtol=1e-5)
    assert len(model.teachers["teacher"]({**model.data_preprocessor(batch, True)}).detection.predict()) == 3


def test_what_does_not_fit_is_said(task, tmp_path):
    with pytest.raises(WiringError, match=r"'neck' \(PKD\) reads neck .*provides only"):
        task(adapter=dict(elements="pillars"), distillers=dict(neck=dict(type="PKD", field="neck")))
    with pytest.raises(ConfigError, match=r"either student=.* or width="):
        task(width=None)
    with pytest.raises(ConfigError, match=r"model\.distillers\.kd\.type is 'PDK'.*PKD"):
        task(distillers=dict(kd=dict(type="PDK")))
    with pytest.raises(WiringError, match=r"'elements' points at 'backbone\.x'.*no submodule.*backbone\.blocks"):
        task(adapter=dict(elements="backbone.x"))


def test_a_checkpoint_that_does_not_fit_is_said(task, tmp_path):
    from structkd.engine.openmmlab.checkpoints import load_state

    model = task()
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        load_state(model.student, tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match=r"VoxelNet: .*size mismatch"):
        load_state(model.student, tmp_path / "teacher.pth")
    torch.save({"state_dict": {"other.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"another model.*missing .*unexpected other\.weight"):
        load_state(model.student, tmp_path / "other.pth")


def test_classes_in_another_order_are_refused(task, tmp_path):
    from types import SimpleNamespace

    from structkd.engine.openmmlab.hooks import DistillHook

    def runner(*classes):
        dataset = SimpleNamespace(metainfo=dict(classes=classes))
        return SimpleNamespace(model=model, train_dataloader=SimpleNamespace(dataset=dataset))

    model = task()
    DistillHook().before_train(runner("Pedestrian", "Car"))
    with pytest.raises(WiringError, match="classes Pedestrian, Car, the dataset has Car, Pedestrian"):
        DistillHook().before_train(runner("Car", "Pedestrian"))
