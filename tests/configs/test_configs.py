"""Every config under configs/ is built and runs two iterations of every stage, on tiny data."""

import json
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

from structkd.datasets import GraphSet, ImageSet
from structkd.engine import Switches, load_config, run_experiment

CONFIGS = Path(__file__).parents[2] / "configs"
#: Those for mmdet3d's runner are run in tests/engine/openmmlab.
THEIRS = CONFIGS / "points" / "mmdet3d"
RUNNABLE = sorted(path for path in CONFIGS.rglob("*.py") if "_base_" not in path.parts and path.parent != THEIRS)


def small_graphs():
    """Paths of 4 to 8 nodes with 3 features, in 10 classes."""
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for number in range(100):
        nodes = 4 + number % 5
        path = torch.stack([torch.arange(nodes - 1), torch.arange(1, nodes)])
        x = torch.rand(nodes, 3, generator=generator)
        graphs.append(Data(x=x, edge_index=torch.cat([path, path.flip(0)], 1), y=torch.tensor([number % 10])))
    return GraphSet(graphs)


SMALL_RANGE = [0, -6.4, -3, 19.2, 6.4, 1]
#: Few and coarse cells, few layers, few points: what makes a detector fast without changing its channels.
SMALL_DETECTORS = dict(
    PointPillars=dict(point_range=SMALL_RANGE, voxel_size=[0.4, 0.4, 4], layer_nums=[1, 1, 1]),
    SECOND=dict(point_range=SMALL_RANGE, voxel_size=[0.2, 0.2, 0.1], layer_nums=[1, 1]),
    PointRCNN=dict(
        point_range=SMALL_RANGE,
        num_points=256,
        level_points=[64, 32, 16, 8],
        num_samples=[[4, 4]] * 4,
        proposals=[64, 16, 8],
        regions_per_scene=8,
        region_points=32,
        region_level_points=[8, 4],
        region_num_samples=[4, 4],
    ),
)


def shrink_detection(config, kitti):
    data = config.data
    data.dataset = dict(type="KittiFrames", root=str(kitti), point_range=SMALL_RANGE)
    data.splits = dict(train="train", test="val")
    if data.pop("metric", None):  # nuScenes: any frames do to see that the parts fit together
        data.classes = ["Car", "Pedestrian"]
    data.latency_frames = 1
    for augment in data.get("augment", []):
        if "point_range" in augment:
            augment.point_range = SMALL_RANGE
    for stage in config.stages.values():
        stage.model.update(SMALL_DETECTORS[stage.model.type])
        stage.train_dataloader = dict(batch_size=2)
        for distiller in stage.get("distillers", {}).values():
            if "point_range" in distiller:
                distiller.point_range = SMALL_RANGE


def small_images(split):
    """Pictures of 32 x 32 in 10 classes, whose brightness tells them apart."""
    generator = torch.Generator().manual_seed(len(split))
    y = torch.arange(60) % 10
    pixels = torch.randint(30, (60, 3, 32, 32), generator=generator) + 20 * y.view(-1, 1, 1, 1)
    return ImageSet(y, [str(number) for number in range(10)], pixels.byte())


def shrink_images(config):
    """A few pictures, and no pretrained weights."""
    data = config.data
    if data.dataset.type != "digit_images":
        data.dataset = dict(type=small_images)
    data.protocol.pop("per_class", None)
    if data.protocol.name == "holdout":
        data.protocol.per_class = 4
    if data.get("corruptions") is not None:
        data.corruptions = dict(kinds=["shift"], severities=[1])
    models = []
    for stage in config.stages.values():
        if stage.model.get("type") == "EfficientNetLite":
            stage.model = dict(type="EfficientNetLite", resize=32)
        models += [stage.model, stage.model.get("source", {})]
    if any(model.get("width", 0) > 64 for model in models):
        for model in models:
            if "patch_size" in model:  # few tokens, and as many on both sides of a stitch
                model.patch_size, model.width = 16, 24


def shrink(config, kitti):
    """Tiny data of the same kind, two epochs a stage."""
    data = config.data
    if data.type == "NodeTask":
        inductive = data.protocol.get("inductive", False)
        data.dataset = dict(type="synthetic_graph", num_nodes=90, num_edges=240, num_features=12, num_classes=3, seed=0)
        data.protocol = dict(name="cpf", inductive=inductive, train_per_class=4, val_per_class=5)
    elif data.type == "DiskNodeTask":
        numbers = dict(num_nodes=300, num_edges=900, num_features=12, num_classes=3)
        data.dataset = dict(type="synthetic_disk_graph", root=str(kitti.parent / "graphs_on_disk"), **numbers)
    elif data.type == "LinkTask":
        data.dataset = dict(type="synthetic_graph", num_nodes=90, num_edges=480, num_features=12, num_classes=3, seed=0)
    elif data.type == "GraphTask":
        data.dataset = dict(type=small_graphs)
        data.protocol = dict(name="planetoid_random", train_per_class=3, num_val=20, num_test=20)
    elif data.type == "DetectionTask":
        shrink_detection(config, kitti)
    elif data.type == "ImageTask":
        shrink_images(config)
    if data.get("positions"):
        data.positions.update(walks_per_node=1, walk_length=5)
    if data.type != "DetectionTask":
        data.latency_batches = [4]
    for stage in config.stages.values():
        if "train_cfg" in stage:
            stage.train_cfg.max_epochs = 2
        if "num_codes" in stage.model:
            stage.model.num_codes = 16


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_config_runs(path, tmp_path, tiny_kitti):
    config = load_config(path)
    shrink(config, tiny_kitti)
    results = run_experiment(config, tmp_path, [0], Switches())
    written = json.loads((tmp_path / "results.json").read_text())
    assert list(results["stages"]) == list(config.stages)
    for name, stage in results["stages"].items():
        assert 0 <= stage["metrics"][results["primary_metric"]]["mean"] <= 1
        assert written["stages"][name]["metrics"] == stage["metrics"]
        assert stage["epochs"] == [2 if "train_cfg" in config.stages[name] else 0]


def test_every_method_folder_has_readme_and_metafile():
    folders = {THEIRS, *(path.parent for path in RUNNABLE)}
    assert folders
    for folder in folders:
        assert (folder / "README.md").is_file(), folder
        assert (folder / "metafile.yml").is_file(), folder
