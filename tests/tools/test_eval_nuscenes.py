import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from structkd.datasets.points.nuscenes_labels import table_labels
from structkd.datasets.points.nuscenes_results import write_nuscenes_boxes
from structkd.datasets.points.nuscenes_tables import NuScenesTables
from structkd.evaluation.nuscenes import NuScenesEvaluation


@pytest.fixture
def files(tmp_path):
    """The tiny tables, and their labels and detections of them as files."""
    path = Path(__file__).parents[1] / "datasets" / "points" / "nuscenes_tables.py"
    spec = importlib.util.spec_from_file_location("tables", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_tables(tmp_path / "data")
    tables = NuScenesTables(tmp_path / "data", "v1.0-mini")
    labels = table_labels(tables, tables.samples("val"))
    detections = replace(labels, score=np.linspace(0.1, 1, len(labels)), center=labels.center + 0.3, num_points=None)
    write_nuscenes_boxes(tmp_path / "labels.json", labels)
    write_nuscenes_boxes(tmp_path / "results.json", detections)
    return tmp_path, NuScenesEvaluation(labels, detections).results()


def test_files_and_tables_agree(command, files, tmp_path):
    folder, expected = files
    by_file = command("eval_nuscenes", folder / "labels.json", folder / "results.json", "--json", tmp_path / "a.json")
    options = ("--dataroot", folder / "data", "--version", "v1.0-mini", "--json", tmp_path / "b.json")
    by_tables = command("eval_nuscenes", folder / "results.json", *options)
    assert (by_file.code, by_tables.code) == (0, 0), by_file.err + by_tables.err
    assert by_file.out == by_tables.out and f"NDS {expected['nd_score']:.4f}" in by_file.out
    assert json.loads((tmp_path / "a.json").read_text()) == json.loads((tmp_path / "b.json").read_text())
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["mean_ap"] == pytest.approx(expected["mean_ap"]) and expected["mean_ap"] > 0.1
    assert found["label_tp_errors"]["traffic_cone"]["vel_err"] is None


def test_errors(command, files):
    folder, _ = files
    labels, results = folder / "labels.json", folder / "results.json"
    assert command("eval_nuscenes", labels).code == 2
    assert command("eval_nuscenes", labels, results, "--dataroot", folder).code == 2
    refused = command(
        "eval_nuscenes", results, "--dataroot", folder / "data", "--version", "v1.0-mini", "--split", "train"
    )
    assert refused.code == 2 and "3 labelled samples have no entry" in refused.err
    refused = command("eval_nuscenes", results, labels)
    assert refused.code == 2 and "has no detection_score" in refused.err
    content = json.loads(labels.read_text())
    del content["ego_poses"]
    labels.write_text(json.dumps(content))
    assert "do not tell where the vehicle is" in command("eval_nuscenes", labels, results).out


def test_infos_by_command(command, files):
    folder, _ = files
    made = command("create_data", "nuscenes", folder / "data", "--version", "v1.0-mini")
    assert made.code == 0 and made.out.split() == [
        str(folder / "data" / f"nuscenes_infos_{split}.pkl") for split in ("train", "val")
    ]
    refused = command("create_data", "nuscenes", folder / "data")
    assert refused.code == 2 and "is of version v1.0-mini; move it away" in refused.err
