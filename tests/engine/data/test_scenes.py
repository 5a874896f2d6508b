import copy
import json

import pytest
import torch

from structkd.datasets import Scenes
from structkd.engine import Switches, load_config, run_experiment, student
from structkd.engine.data import DetectionTask
from structkd.engine.pictures import draw_detections
from structkd.engine.task import DistillTask
from structkd.errors import ConfigError, DataError

RANGE = [0, -6.4, -3, 19.2, 6.4, 1]
MODEL = dict(
    type="PointPillars",
    point_range=RANGE,
    voxel_size=[0.4, 0.4, 4],
    layer_nums=[1, 1, 1],
    channels=[16, 16, 16],
    neck_channels=[8, 8, 8],
    pillar_channels=16,
)
STAGE = dict(
    model=MODEL,
    adapter=dict(elements="pillars"),
    train_dataloader=dict(batch_size=3, cache=True),
    optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.005, betas=[0.95, 0.99])),
    param_scheduler=dict(type="OneCycle", peak=2),
    train_cfg=dict(max_epochs=2),
)


def detection(root, **arguments):
    return DetectionTask(
        **{
            "dataset": dict(type="KittiFrames", root=str(root), point_range=RANGE),
            "classes": ["Car", "Pedestrian"],
            "latency_frames": 1,
            **arguments,
        }
    )


def write_config(folder, root, stages, **data):
    config = dict(
        data=dict(
            type="DetectionTask",
            dataset=dict(type="KittiFrames", root=str(root), point_range=RANGE),
            classes=["Car", "Pedestrian"],
            augment=[dict(type="RandomFlip")],
            latency_frames=1,
            **data,
        ),
        stages=stages,
        seeds=[0],
    )
    path = folder / "points.py"
    path.write_text("".join(f"{key} = {value!r}\n" for key, value in config.items()))
    return path


def test_batches_and_facts(tiny_kitti):
    data = detection(tiny_kitti)
    data.setup(0)
    assert data.facts == {"classes": ("Car", "Pedestrian"), "point_channels": 4}
    (batch,) = data.train_loader(dict(batch_size=3), "here", 0, 0, 1)
    assert isinstance(batch, Scenes) and batch.num_scenes == 3 and batch.boxes.shape == (6, 7)
    assert data.eval_loader("val") is None
    (batch,) = data.eval_loader("test")
    assert batch.split == "test" and batch.n_id.tolist() == [0, 1, 2]
    assert batch.frame_id == ["000003", "000004", "000005"]
    assert "3 train, 3 test; tested on its split 'val'" in data.protocol


def test_labels_as_detections_have_full_precision(tiny_kitti):
    data = detection(tiny_kitti, splits=dict(val="train"))
    (metric,) = data.metrics()
    for split in ("val", "test"):
        for batch in data.eval_loader(split):
            for scene in range(batch.num_scenes):
                own = batch.boxes_batch == scene
                scores = torch.ones(int(own.sum()))
                found = dict(boxes=batch.boxes[own], labels=batch.labels[own], scores=scores)
                metric.process(None, [dict(split=split, index=int(batch.n_id[scene]), **found)])
    metrics = metric.evaluate(1)
    # Three objects a class reach the first three of 41 thresholds; a detector cannot do better on so few.
    best = metrics["detail/Car_3D_AP11_easy_loose"]
    assert best > 0
    for name in ("test/3d", "test/bev", "test/3d Car", "test/bev Pedestrian", "val/3d"):
        assert metrics[name] == pytest.approx(metrics["test/3d"]) and 0 < metrics[name] <= 1
    assert metrics["detail/Car_2D_AP40_moderate_strict"] == pytest.approx(metrics["test/3d"])
    assert metrics["val/detail/Pedestrian_BEV_AP40_hard_strict"] > 0


def test_splits_and_metrics_that_do_not_fit(tiny_kitti):
    with pytest.raises(ConfigError, match=r"data.splits.*expected names for train, test"):
        detection(tiny_kitti, splits=dict(train=None))
    with pytest.raises(ConfigError, match=r"data.augment.0.*RandomFlop"):
        detection(tiny_kitti, augment=[dict(type="RandomFlop")]).train_loader(None, "here", 0, 0, 1)


def test_a_detector_is_distilled_saved_bare_exported_and_tested(tiny_kitti, tmp_path, command):
    stages = dict(
        teacher=dict(STAGE, role="teacher"),
        plain=dict(copy.deepcopy(STAGE), role="plain"),
        distilled=dict(
            like="plain",
            role="distilled",
            teachers=dict(teacher=dict(stage="teacher")),
            distillers=dict(
                kd=dict(
                    type="PointDistiller",
                    student_channels=8,
                    teacher_channels=16,
                    out_channels=8,
                    n=50,
                    reweight="rank",
                    guard="no_affine",
                    k=8,
                    weight=1.0,
                )
            ),
        ),
    )
    stages["plain"]["model"]["width"] = 0.5
    path = write_config(tmp_path, tiny_kitti, stages)
    results = run_experiment(load_config(path), tmp_path / "work", [0], Switches())
    assert results["selection"].startswith("the last epoch")
    entry = results["stages"]["distilled"]
    assert entry["macs"] > 0 and entry["latency_ms"]["1"]["predict"] >= 0
    assert entry["selected"] == [{"metric": None, "score": None, "epoch": 2}]
    folder = tmp_path / "work" / "seed_0"
    assert not (folder / "teacher" / "outputs").exists()
    ours, theirs = (torch.load(folder / name / "student.pth", weights_only=True) for name in ("distilled", "plain"))
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()  # no teacher, no edge layer
    lines = [json.loads(line) for line in (folder / "distilled" / "scalars.jsonl").read_text().splitlines()]
    assert any(key.startswith("train/loss/kd") for key in lines[-1])

    checkpoint = folder / "distilled" / "student.pth"
    again = student.test_student(load_config(path), checkpoint, out=tmp_path / "found")
    assert again["metrics"] == {name: values["mean"] for name, values in entry["metrics"].items()}
    assert sorted(file.name for file in (tmp_path / "found").iterdir()) == ["000003.txt", "000004.txt", "000005.txt"]

    assert (
        command("export", path, checkpoint, "--out", tmp_path / "export", "--formats", "state_dict", "export").code == 0
    )
    card = json.loads((tmp_path / "export" / "model_card.json").read_text())
    assert card["kwargs_rebuild_it"] is True and card["class"].endswith("PointPillars")
    assert (
        list(card["outputs"]) == ["logits", "box_map", "direction"]
        and card["weights"].keys() == ours["state_dict"].keys()
    )
    assert all(entry["ok"] for entry in card["formats"].values())

    drawn = draw_detections(load_config(path), tmp_path / "work", tmp_path / "pictures", frames=["000004"])
    assert [file.name for file in drawn] == ["000004_bev.png", "000004_weights.png"]
    assert all(file.stat().st_size > 10_000 for file in drawn)
    with pytest.raises(ConfigError, match="no test frame '000001'"):
        draw_detections(load_config(path), tmp_path / "work", tmp_path / "pictures", frames=["000001"])
    with pytest.raises(ConfigError, match=r"no stage 'plane'.*plain"):
        draw_detections(load_config(path), tmp_path / "work", tmp_path / "pictures", stages=["plane"])


def test_a_killed_run_goes_on_to_the_same_weights(tiny_kitti, tmp_path, monkeypatch):
    path = write_config(tmp_path, tiny_kitti, dict(plain=dict(STAGE, role="plain", checkpoint_interval=1)))
    run_experiment(load_config(path), tmp_path / "whole", [0], Switches())

    class Killed(Exception):
        pass

    def killed_in_the_second_epoch(self, epoch, max_epochs):
        if epoch == 1:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(DistillTask, "set_progress", killed_in_the_second_epoch)
        with pytest.raises(Killed):
            run_experiment(load_config(path), tmp_path / "broken", [0], Switches())
    run_experiment(load_config(path), tmp_path / "broken", [0], Switches(resume=True))
    whole, resumed = (
        torch.load(tmp_path / name / "seed_0" / "plain" / "student.pth", weights_only=True)["state_dict"]
        for name in ("whole", "broken")
    )
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_the_metric_fits_the_frames(tiny_kitti):
    with pytest.raises(DataError, match=r"data.metric.*NuScenesAP evaluates NuScenesFrames"):
        detection(tiny_kitti, metric=dict(type="NuScenesAP"))
    assert detection(tiny_kitti).primary_metric == "test/3d"
