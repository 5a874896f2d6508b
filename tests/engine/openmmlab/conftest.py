"""mmdet3d's configs made small, and KITTI-layout data that mmdet3d's own dataset class reads."""

import copy
import logging
from pathlib import Path

import pytest
import torch

from structkd.engine.openmmlab import missing

CONFIGS = Path(__file__).parents[3] / "configs" / "points" / "mmdet3d"
RANGE = [0, -6.4, -3, 19.2, 6.4, 1]
#: What needs a database of objects or a minute of numba, and what makes epochs of one batch differ.
LEFT_OUT = ("ObjectSample", "ObjectNoise", "RandomFlip3D", "GlobalRotScaleTrans", "PointShuffle")


@pytest.fixture(scope="session")
def stack():
    """The mmdet3d stack, ready; tests that need it are skipped, with the reason, where it is not installed."""
    if absent := missing():
        pytest.skip(f"not installed: {', '.join(absent)} (pip install 'structkd[mmdet3d]')")
    from structkd.engine.openmmlab import prepare

    prepare()


@pytest.fixture(autouse=True)
def _unformatted(monkeypatch):
    """Configs are written as they are: laying them out neatly takes most of the time of a small run."""
    monkeypatch.setattr("mmengine.config.config.FormatCode", lambda text, **_options: (text, True))


@pytest.fixture(autouse=True)
def _quiet():
    """mmengine keeps loggers, visualizers and scopes by name: every test starts without those of the last one."""
    yield
    from mmengine.utils import ManagerMixin

    for kind in [ManagerMixin, *_descendants(ManagerMixin)]:
        if hasattr(kind, "_instance_dict"):
            kind._instance_dict.clear()
    logging.getLogger("mmengine").handlers.clear()


def _descendants(kind):
    return [each for child in kind.__subclasses__() for each in (child, *_descendants(child))]


@pytest.fixture(scope="session")
def mm_kitti(tiny_kitti, tmp_path_factory):
    """`tiny_kitti` with what `tools/create_data.py kitti` adds: reduced scans and info files."""
    import shutil

    from structkd.datasets.points.prepare import write_infos, write_reduced

    root = tmp_path_factory.mktemp("mm") / "kitti"
    shutil.copytree(tiny_kitti, root)
    for split in ("train", "val"):
        write_reduced(root, split, show_progress=False)
        write_infos(root, split, show_progress=False)
    return root


def shrunk_detector(model):
    """A detector's config on a small range with coarse cells, few layers and few points; channels stay."""
    model = copy.deepcopy(model)
    kind = model["type"]
    if kind in ("VoxelNet", "MVXFasterRCNN", "CenterPoint"):
        pillars = "PillarFeatureNet" in str(model) or "HardVFE" in str(model)
        size = [0.4, 0.4, 4] if pillars else [0.2, 0.2, 0.1]
        cells = [round((RANGE[3] - RANGE[0]) / size[0]), round((RANGE[4] - RANGE[1]) / size[1])]
        prefix = "pts_" if kind != "VoxelNet" else ""
        model["data_preprocessor"]["voxel_layer"].update(point_cloud_range=RANGE, voxel_size=size)
        encoder, middle = model[prefix + "voxel_encoder"], model[prefix + "middle_encoder"]
        if "voxel_size" in encoder:
            encoder.update(point_cloud_range=RANGE, voxel_size=size)
        if middle["type"] == "PointPillarsScatter":
            middle["output_shape"] = cells[::-1]
        else:
            middle["sparse_shape"] = [41, *cells[::-1]]
        backbone, head = model[prefix + "backbone"], model[prefix + "bbox_head"]
        backbone["layer_nums"] = [1] * len(backbone["layer_nums"])
        if "anchor_generator" in head:
            ranges = head["anchor_generator"]["ranges"]
            head["anchor_generator"]["ranges"] = [
                [RANGE[0], RANGE[1], old[2], RANGE[3], RANGE[4], old[2]] for old in ranges
            ]
        else:
            head["bbox_coder"].update(pc_range=RANGE[:2], voxel_size=size[:2], max_num=20)
            model["train_cfg"]["pts"].update(grid_size=[*cells, 1], voxel_size=size, point_cloud_range=RANGE)
            model["test_cfg"]["pts"].update(pc_range=RANGE[:2], voxel_size=size[:2])
    elif kind == "PointRCNN":
        model["backbone"].update(num_points=(64, 32, 16, 8), num_samples=((4, 4),) * 4)
        head = model["roi_head"]["bbox_head"]
        model["roi_head"]["bbox_roi_extractor"]["roi_layer"]["num_sampled_points"] = 32
        head.update(num_points=(8, 4, -1), num_samples=(4, 4, 4))
        model["test_cfg"]["rpn"]["nms_cfg"].update(nms_pre=64, nms_post=16)
        model["train_cfg"]["rcnn"]["sampler"]["num"] = 8
    elif kind == "SSD3DNet":
        model["backbone"].update(
            num_points=(64, 32, (16, 16)), num_samples=((4, 4, 4),) * 3, fps_sample_range_lists=(-1, -1, (32, -1))
        )
        head = model["bbox_head"]
        head["vote_module_cfg"]["num_points"] = 16
        head["vote_aggregation_cfg"].update(num_point=16, sample_nums=(4, 4))
    return model


def small_pipeline(pipeline, left_out=LEFT_OUT):
    kept = []
    for step in pipeline:
        if step["type"] in left_out:
            continue
        step = copy.deepcopy(step)
        if "point_cloud_range" in step:
            step["point_cloud_range"] = RANGE
        if step["type"] == "PointSample":
            step.update(num_points=256)
        if "transforms" in step:
            step["transforms"] = small_pipeline(step["transforms"], ())
        kept.append(step)
    return kept


def shrink(config, root, epochs=2, classes=("Pedestrian", "Car")):
    """A config of mmdet3d on `mm_kitti`, small and for one process."""
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loader = config[name]
        loader.update(batch_size=3 if name.startswith("train") else 1, num_workers=0, persistent_workers=False)
        dataset = loader["dataset"]
        while "dataset" in dataset:
            dataset["times"] = 1
            dataset = dataset["dataset"]
        dataset.update(
            type="KittiDataset",
            data_root=str(root),
            ann_file=f"kitti_infos_{'train' if name.startswith('train') else 'val'}.pkl",
            data_prefix=dict(pts="training/velodyne_reduced"),
            pipeline=small_pipeline(dataset["pipeline"]),
            metainfo=dict(classes=list(classes)),
        )
    for name in ("val_evaluator", "test_evaluator"):
        config[name] = dict(type="KittiMetric", ann_file=str(root / "kitti_infos_val.pkl"), pcd_limit_range=RANGE)
    config.train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=epochs)
    config.default_hooks.logger = dict(type="LoggerHook", interval=1)
    config.param_scheduler = []
    config.randomness = dict(seed=0)
    config.log_level = "ERROR"
    model = config.model
    if "teacher" in model:
        model["teacher"] = shrunk_detector(model["teacher"])
    else:
        config.model = shrunk_detector(model)
    return config


@pytest.fixture
def small_config(stack, mm_kitti, tmp_path):
    """Writes one of our configs, small and with a teacher of random weights: `small_config(NAME, model keys ...)`.

    Beside it are the teacher's `teacher.pth` and its own config, `teacher.py`.
    """

    def write(name, epochs=2, classes=("Pedestrian", "Car"), **model):
        from structkd.engine.openmmlab import read_config
        from structkd.engine.openmmlab.detector import built

        config = shrink(read_config(CONFIGS / name), mm_kitti, epochs, classes)
        torch.manual_seed(1)
        teacher = built(config.model.teacher)
        teacher.init_weights()
        meta = {"dataset_meta": {"classes": list(classes)}}
        torch.save({"meta": meta, "state_dict": teacher.state_dict()}, tmp_path / "teacher.pth")
        config.model.teacher_checkpoint = str(tmp_path / "teacher.pth")
        for key, value in model.items():
            config.model[key] = value  # `update` would merge
        config.dump(str(tmp_path / "small.py"))
        config.model = config.model.teacher
        config.dump(str(tmp_path / "teacher.py"))
        return tmp_path / "small.py"

    return write


@pytest.fixture
def small_detector():
    """Makes a detector's config small: see `shrunk_detector`."""
    return shrunk_detector


@pytest.fixture
def config_folder():
    """Our configs for mmdet3d's runner."""
    return CONFIGS
