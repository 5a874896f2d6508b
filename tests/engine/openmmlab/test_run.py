"""mmdet3d's configs train, distil, evaluate and predict on CPU, through its own runner, datasets and hooks."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]
POINTPILLARS = "pointpillars_to_pointpillars_16x_kitti.py"
AUGMENTED = """
_dataset = train_dataloader["dataset"]
while "dataset" in _dataset:
    _dataset = _dataset["dataset"]
_dataset["pipeline"].insert(
    -1, dict(type="GlobalRotScaleTrans", rot_range=[-0.8, 0.8], scale_ratio_range=[0.8, 1.2])
)
del _dataset
"""


def scalars(work_dir):
    """What mmengine's own logger wrote, a dict a training step."""
    (path,) = work_dir.glob("*/vis_data/scalars.json")
    return [line for line in map(json.loads, path.read_text().splitlines()) if "loss" in line]


@pytest.mark.parametrize(
    ("name", "own"),
    [
        (POINTPILLARS, {"loss_cls", "loss_bbox", "loss_dir"}),
        ("second_to_second_16x_kitti.py", {"loss_cls", "loss_bbox", "loss_dir"}),
        ("point_rcnn_to_point_rcnn_16x_kitti.py", {"rpn_bbox_loss", "rpn_semantic_loss", "loss_cls", "loss_bbox"}),
    ],
)
def test_trains_distils_evaluates_and_predicts(name, own, small_config, command, tmp_path, mm_kitti):
    config, work_dir = small_config(name, epochs=4), tmp_path / "work"
    done = command("train", config, "--work-dir", work_dir)
    assert done.code == 0, done.err
    steps = scalars(work_dir)
    assert len(steps) == 4 and all(math.isfinite(value) for step in steps for value in step.values())
    assert own <= steps[0].keys() and any(key.startswith("loss/edges") for key in steps[0])
    assert steps[-1]["loss"] < steps[0]["loss"]

    # The student alone, in a config that knows nothing of us.
    from mmdet3d.apis import inference_detector, init_model
    from mmengine.runner import load_checkpoint

    assert "structkd" not in (work_dir / "student.py").read_text()
    model = init_model(str(work_dir / "student.py"), str(work_dir / "student.pth"), device="cpu")
    load_checkpoint(model, str(work_dir / "student.pth"), strict=True)
    trained = torch.load(work_dir / "epoch_4.pth", weights_only=False)["state_dict"]
    assert all(torch.equal(value, trained[f"student.{key}"]) for key, value in model.state_dict().items())
    assert model.dataset_meta["classes"] == ["Pedestrian", "Car"]
    done = command("export", config, work_dir / "epoch_4.pth", "--out", tmp_path / "exported")
    assert done.code == 0, done.err
    exported = torch.load(tmp_path / "exported" / "student.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(value, exported[key]) for key, value in model.state_dict().items())
    result, _ = inference_detector(model, str(mm_kitti / "training" / "velodyne_reduced" / "000003.bin"))
    assert result.pred_instances_3d.bboxes_3d.tensor.size(1) == 7

    found = {}
    for number, checkpoint in enumerate(("student.pth", "epoch_4.pth")):
        out = tmp_path / f"metrics_{number}.json"
        done = command("test", config, work_dir / checkpoint, "--work-dir", tmp_path / f"test_{number}", "--json", out)
        assert done.code == 0, done.err
        found[checkpoint] = json.loads(out.read_text())["metrics"]
    assert found["student.pth"] == found["epoch_4.pth"]
    assert "Kitti metric/pred_instances_3d/KITTI/Car_3D_AP40_moderate_strict" in found["student.pth"]


def test_a_checkpoint_of_theirs_is_tested(small_config, command, tmp_path):
    config = small_config(POINTPILLARS).with_name("teacher.py")
    out = tmp_path / "results"
    done = command("test", config, tmp_path / "teacher.pth", "--work-dir", tmp_path / "work", "--out", out)
    assert done.code == 0, done.err
    assert sorted(path.stem for path in out.rglob("*.txt")) == ["000003", "000004", "000005"]
    done = command("test", config, tmp_path / "none.pth", "--work-dir", tmp_path / "work")
    assert done.code == 2 and "none.pth" in done.err


def test_resuming_ends_where_an_unbroken_run_does(small_config, command, tmp_path):
    config = small_config(POINTPILLARS, epochs=2)
    # Augmented at random: the resumed epoch must draw what the unbroken run draws in it.
    config.write_text(config.read_text() + AUGMENTED)
    options = ("--cfg-options", "default_hooks.checkpoint.interval=1")
    assert command("train", config, "--work-dir", tmp_path / "whole", *options).code == 0
    assert command("train", config, "--work-dir", tmp_path / "broken", *options, "train_cfg.max_epochs=1").code == 0
    done = command("train", config, "--work-dir", tmp_path / "broken", "--resume", *options)
    assert done.code == 0, done.err
    whole, resumed = (
        torch.load(tmp_path / name / "student.pth", weights_only=True)["state_dict"] for name in ("whole", "broken")
    )
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_what_has_no_meaning_for_mmdet3d_is_refused(small_config, command, tmp_path):
    config = small_config(POINTPILLARS).with_name("teacher.py")
    done = command("test", config, tmp_path / "teacher.pth", "--stage", "plain")
    assert done.code == 2 and "--stage" in done.err


def test_mixed_precision_runs_on_a_cpu(small_config, command, tmp_path):
    config = small_config(POINTPILLARS, epochs=1)
    done = command("train", config, "--work-dir", tmp_path / "work", "--amp")
    assert done.code == 0, done.err
    (step,) = scalars(tmp_path / "work")
    assert math.isfinite(step["loss"])
    assert "AmpOptimWrapper" in (tmp_path / "work" / "student.py").read_text()


def test_two_processes(small_config, tmp_path):
    config = small_config(POINTPILLARS, epochs=1)
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", "29611", "tools/train.py", str(config), "--launcher", "pytorch"]
    command += ["--work-dir", str(tmp_path / "work")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(scalars(tmp_path / "work")) == 1
    assert (tmp_path / "work" / "student.pth").is_file()
