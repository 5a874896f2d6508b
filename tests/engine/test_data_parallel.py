"""Two processes train images, modules and detectors as one process does with the same global batch."""

import copy
import os
import shutil
import socket
import traceback
from pathlib import Path

import torch
import torch.distributed as dist

from structkd.datasets import ImageSet
from structkd.engine import Switches, load_config, run_experiment

CONFIGS = Path(__file__).parents[2] / "configs"
#: Adam would divide rounding by rounding.
SGD = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01))


def in_processes(count, work):
    """Run `work()` in `count` forked processes that know of each other; raises what any of them raises."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            place = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=count, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
            os.environ.update({key: str(value) for key, value in place.items()})
            status = 1
            try:
                work()
                dist.destroy_process_group()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    failed = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert not any(failed), "a process failed, see its traceback above"


def of_stages(config, names):
    """The config with these of its stages and no others."""
    chosen = copy.deepcopy(config)
    chosen.stages = {name: stage for name, stage in chosen.stages.items() if name in names}
    return chosen


def compare(config, before, stage, folder):
    """Train `stage` in one and in two processes, after the stages `before` it in one; its weights must agree."""
    run_experiment(of_stages(config, before), folder / "one", [0], Switches())
    shutil.copytree(folder / "one", folder / "two")
    assert not (folder / "two" / "seed_0" / stage).exists()
    config = of_stages(config, [*before, stage])
    run_experiment(config, folder / "one", [0], Switches(resume=True))
    in_processes(2, lambda: run_experiment(config, folder / "two", [0], Switches(resume=True, launcher="pytorch")))
    one, two = (
        torch.load(folder / name / "seed_0" / stage / "last.pth", weights_only=True)["state_dict"]
        for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for key, value in one.items():
        if "running_var" not in key:  # divided by n - 1, of each process's own n
            torch.testing.assert_close(
                two[key], value, rtol=1e-4, atol=2e-6, msg=lambda text, key=key: f"{key}: {text}"
            )
    start = torch.load(folder / "two" / "seed_0" / before[0] / "last.pth", weights_only=True)["state_dict"]
    assert start.keys() != two.keys() or any(not torch.equal(start[key], two[key]) for key in two)


def pictures(split):
    """Sixty small images of ten classes, told apart by their brightness."""
    generator = torch.Generator().manual_seed(len(split))
    y = torch.arange(60) % 10
    pixels = torch.randint(30, (60, 3, 8, 8), generator=generator) + 20 * y.view(-1, 1, 1, 1)
    return ImageSet(y, [str(number) for number in range(10)], pixels.byte())


def with_pictures(path):
    """A config of images on those, two epochs of batches that two processes cannot halve."""
    config = load_config(CONFIGS / path)
    config.data.update(dataset=dict(type=pictures), corruptions=None, latency_batches=[])
    for stage in config.stages.values():
        if "train_cfg" in stage:
            stage.train_cfg.max_epochs = 2
            stage.train_dataloader = dict(batch_size=15)
            stage.optim_wrapper = SGD
    return config


def test_images(tmp_path):
    compare(with_pictures("images/kd/cnn_to_vit_digits.py"), ["teacher"], "kd", tmp_path)


def test_modules(tmp_path):
    compare(with_pictures("images/m2mkd/vit_digits_split.py"), ["teacher", "target_1"], "pair_1", tmp_path)


def test_detectors(tmp_path, tiny_kitti):
    # Copies of one frame: batch normalisation, which every process does for itself, then sees the same everywhere.
    # Three in a batch, of which one process takes two, so that shares have to be right.
    root = tmp_path / "kitti"
    shutil.copytree(tiny_kitti, root)
    for path in root.glob("training/*/*"):
        path.write_bytes((tiny_kitti / path.relative_to(root)).with_stem("000000").read_bytes())
    config = load_config(CONFIGS / "points/point_distiller/pointpillars_to_pointpillars_16x_simulated.py")
    area = [0, -6.4, -3, 19.2, 6.4, 1]
    config.data.dataset = dict(type="KittiFrames", root=str(root), point_range=area)
    config.data.augment, config.data.latency_frames = [], 0
    config.data.splits = dict(train="train", test="val")
    for stage in config.stages.values():
        stage.model.update(point_range=area, voxel_size=[0.4, 0.4, 4], layer_nums=[1, 1, 1])
        stage.train_cfg.max_epochs, stage.train_dataloader, stage.optim_wrapper = 3, dict(batch_size=3), SGD
    compare(config, ["teacher"], "point_distiller", tmp_path)
