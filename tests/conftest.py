"""What all tests share: one thread, fixed seeds, real data where there are some, the tools, and a tiny experiment."""

import copy
import functools
import importlib.util
import logging
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

# Sums come out the same on every machine, and parallel test processes do not fight over the cores.
torch.set_num_threads(1)
# Triton asks once, when it is first imported. Where there is no GPU its kernels run under its interpreter, but only for
# tests that say so: see structkd.ops.triton.launch.interpreted.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    """A source of randomness of one's own, seeded."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the real datasets; never write into it."""
    named = os.environ.get("STRUCTKD_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: STRUCTKD_DATA is {named or 'not set'}" + (", no such folder" if named else ""))
    return folder


@pytest.fixture(scope="session")
def open3d():
    """The open3d module; tests that need it are skipped, with the reason, where it does not load."""
    from structkd.backends import import_open3d
    from structkd.errors import ConfigError

    try:
        return import_open3d()
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tool():
    """Tools are scripts, not a package: loads one by its name."""

    @functools.cache
    def load(name):
        path = Path(__file__).resolve().parents[1] / "tools" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"tools_{name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def command(tool, capsys, monkeypatch):
    """Runs a tool in this process, as its command line would: `command("train", CONFIG, ...)` -> code, out, err."""
    monkeypatch.setenv("LOCAL_RANK", "0")  # train.py sets it; so it is taken back

    def run(name, *arguments):
        capsys.readouterr()
        try:
            code = tool(name).main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return run


@pytest.fixture(autouse=True)
def _log():
    """Closes the log of an experiment, which goes to streams that end with their test."""
    yield
    logger = logging.getLogger("structkd")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


ADAM = dict(optimizer=dict(type="Adam", lr=0.01))
TINY = dict(
    data=dict(
        type="NodeTask",
        dataset=dict(type="synthetic_graph", num_nodes=60, num_edges=150, num_features=6, num_classes=3),
        protocol=dict(name="random"),
        latency_batches=[],
    ),
    seeds=[0],
    stages=dict(
        teacher=dict(
            role="teacher",
            model=dict(type="GCN", hidden_channels=8),
            adapter=dict(taps=dict(hidden="acts.0")),
            optim_wrapper=ADAM,
            train_cfg=dict(max_epochs=2),
        ),
        plain=dict(
            role="plain",
            model=dict(type="MLP", hidden_channels=8, dropout=0.5),
            adapter=dict(inputs=["x"], taps=dict(hidden="lins.0")),
            optim_wrapper=ADAM,
            train_cfg=dict(max_epochs=2),
        ),
        glnn=dict(
            like="plain",
            role="distilled",
            method="GLNN",
            teachers=dict(teacher=dict(stage="teacher")),
            distillers=dict(kd=dict(type="GLNN")),
        ),
    ),
)


def write_tiny(folder, stages=None, data=None, **top):
    """The config above with further or other keys in its stages, its data and at its top."""
    config = copy.deepcopy(TINY) | top
    config["data"] |= data or {}
    for name, changes in (stages or {}).items():
        config["stages"][name] = config["stages"].get(name, {}) | changes
    path = folder / "tiny.py"
    path.write_text("".join(f"{key} = {value!r}\n" for key, value in config.items()))
    return path


@pytest.fixture
def tiny_config(tmp_path):
    """Writes the config of a teacher, a plain and a distilled student on 60 nodes: see `write_tiny`."""
    return functools.partial(write_tiny, tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A finished run of the tiny config: its `config` file and its `work_dir`. Copy it before you change it."""
    from structkd.engine import Switches, load_config, run_experiment

    folder = tmp_path_factory.mktemp("trained")
    config, work_dir = write_tiny(folder), folder / "work"
    results = run_experiment(load_config(config), work_dir, [0], Switches())
    return SimpleNamespace(config=config, work_dir=work_dir, results=results)


def write_kitti(root, frames=6):
    """A folder in KITTI's layout with a car and a pedestrian in each frame: boxes full of points on a flat ground.

    Splits: train and val, half of the frames each.
    """
    import numpy as np

    from structkd.datasets.points.boxes import boxes_to_camera, image_boxes
    from structkd.datasets.points.kitti_files import read_calibration, write_objects
    from structkd.evaluation.kitti import KittiObjects

    for name in ("velodyne", "label_2", "calib"):
        (root / "training" / name).mkdir(parents=True)
    (root / "ImageSets").mkdir()
    projection = "721.5377 0 609.5593 44.85728 0 721.5377 172.854 0.2163791 0 0 1 0.002745884"
    calibration = f"P2: {projection}\nR0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27\n"
    ids = [f"{number:06d}" for number in range(frames)]
    for split, part in (("train", ids[: frames // 2]), ("val", ids[frames // 2 :])):
        (root / "ImageSets" / f"{split}.txt").write_text("".join(f"{i}\n" for i in part))
    rng = np.random.default_rng(0)
    for frame_id in ids:
        boxes = np.array(
            [
                [rng.uniform(8, 14), rng.uniform(-3, 0), -1.7, 3.9, 1.6, 1.5, rng.uniform(-0.3, 0.3)],
                [rng.uniform(8, 14), rng.uniform(2, 4), -1.7, 0.8, 0.6, 1.7, rng.uniform(-3, 3)],
            ]
        )
        ground = np.stack([rng.uniform(4, 20, 600), rng.uniform(-6, 6, 600), np.full(600, -1.7)], 1)
        parts = [ground]
        for x, y, z, length, width, height, yaw in boxes:
            along, across, up = (rng.uniform(-0.5, 0.5, (3, 150)).T * (length, width, height)).T
            cos, sin = np.cos(yaw), np.sin(yaw)
            parts.append(
                np.stack([x + along * cos - across * sin, y + along * sin + across * cos, z + height / 2 + up], 1)
            )
        points = np.concatenate(parts)
        points = np.concatenate([points, rng.uniform(0, 0.9, (len(points), 1))], 1).astype("<f4")
        (root / "training" / "velodyne" / f"{frame_id}.bin").write_bytes(points.tobytes())
        path = root / "training" / "calib" / f"{frame_id}.txt"
        path.write_text(calibration)
        calib = read_calibration(path)
        camera = boxes_to_camera(boxes, calib.lidar_to_camera)
        rectangles, _ = image_boxes(camera, calib.projection, (1242, 375))
        objects = KittiObjects.from_boxes(["Car", "Pedestrian"], camera, rectangles, truncated=0.0, occluded=0)
        write_objects(root / "training" / "label_2" / f"{frame_id}.txt", objects)
    return root


@pytest.fixture(scope="session")
def tiny_kitti(tmp_path_factory):
    """Six small frames in KITTI's layout: see `write_kitti`. Never write into it."""
    return write_kitti(tmp_path_factory.mktemp("kitti"))
