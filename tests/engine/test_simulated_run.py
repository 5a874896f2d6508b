"""The whole way on the embedded data, small: simulate, train a teacher and students, distil, evaluate, report."""

import json
from pathlib import Path

from structkd.engine import Switches, load_config, load_student, run_experiment
from structkd.engine.export import export_student
from structkd.visualization import read_runs, render_report

CONFIG = Path(__file__).parents[2] / "configs" / "points" / "compare" / "pointpillars_simulated_small.py"


def test_from_nothing_to_a_report(tmp_path, open3d):
    sizes = {"num_train": 48, "num_test": 16, "root": str(tmp_path / "data"), "show_progress": False}
    options = {f"data.dataset.{name}": value for name, value in sizes.items()}
    options |= {"stages.teacher.train_cfg.max_epochs": 8, "data.latency_frames": 1}
    options |= {f"stages.{stage}.train_cfg.max_epochs": 2 for stage in ("plain", "point_distiller", "logit_kd")}
    options |= {"stages.teacher.model.layer_nums": [1, 1, 1], "stages.teacher.train_dataloader.batch_size": 2}
    config = load_config(CONFIG, options)
    results = run_experiment(config, tmp_path / "work", [0], Switches())
    for stage in ("teacher", "plain", "point_distiller", "logit_kd"):
        lines = (tmp_path / "work" / "seed_0" / stage / "scalars.jsonl").read_text().splitlines()
        losses = [json.loads(line)["train/loss/cls"] for line in lines]
        assert losses[-1] < losses[0], stage
    metrics = results["stages"]["teacher"]["metrics"]
    found = [metrics[f"detail/{name}_BEV_AP11_moderate_loose"]["mean"] for name in ("Car", "Pedestrian", "Cyclist")]
    assert max(found) > 0
    page, _ = render_report(read_runs([tmp_path / "work"]))
    assert "PointDistiller" in page
    # The dense network leaves in every format, as it will run without structkd.
    student, example = load_student(config, tmp_path / "work/seed_0/point_distiller/student.pth", "point_distiller")
    card = export_student(student, example, tmp_path / "export", ["state_dict", "export", "onnx"])
    assert all(entry["ok"] for entry in card["formats"].values())
