import shutil
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread, imsave

from structkd.datasets.points import KittiFrames
from structkd.datasets.points.kitti_files import read_labels, write_objects


@pytest.fixture
def results(tiny_kitti, tmp_path):
    """A folder of result files that are right, with a score of 0.8."""
    folder = tmp_path / "good"
    folder.mkdir()
    for path in (tiny_kitti / "training" / "label_2").iterdir():
        objects = read_labels(path)
        write_objects(folder / path.name, replace(objects, score=np.full(len(objects), 0.8)))
    return folder


def drawn(done):
    assert done.code == 0, done.err
    return [line.rpartition("/")[2] for line in done.out.split()]


def test_kitti(command, tiny_kitti, results, tmp_path):
    out, plain = tmp_path / "out", ("--renderer", "matplotlib")
    assert drawn(command("visualize", "kitti", tiny_kitti, "--frames", "000001", "--out", out, *plain)) == [
        "000001_bev.png",
        "000001_3d.png",
    ]
    shape = imread(out / "000001_bev.png").shape
    both = ("--results", f"teacher={results}", results, "--views", "bev", "--frames", "000001")
    assert drawn(command("visualize", "kitti", tiny_kitti, *both, "--out", tmp_path / "two")) == ["000001_bev.png"]
    image = imread(tmp_path / "two" / "000001_bev.png")
    assert image.shape[1] > 1.6 * shape[1] and image.min() < 0.5
    every = command("visualize", "kitti", tiny_kitti, "--views", "bev", "--out", out, "--split", "val")
    assert drawn(every) == [f"00000{i}_bev.png" for i in (3, 4, 5)]


def test_kitti_with_a_picture(command, tiny_kitti, tmp_path):
    root = tmp_path / "kitti"
    shutil.copytree(tiny_kitti, root)
    (root / "training" / "image_2").mkdir()
    imsave(root / "training" / "image_2" / "000000.png", np.zeros((375, 1242, 3)))
    assert KittiFrames(root, "train").image_size(0) == (1242, 375)
    done = command("visualize", "kitti", root, "--views", "image", "--out", tmp_path)
    assert drawn(done) == ["000000_image.png"]


def test_curves(command, tiny_kitti, results, tmp_path):
    labels = tiny_kitti / "training" / "label_2"
    done = command("visualize", "curves", labels, f"teacher={results}", "--metric", "bev", "--out", tmp_path)
    assert drawn(done) == ["precision_recall_bev_moderate.png", "average_precision_bev_moderate.png"]
    (tmp_path / "empty").mkdir()
    assert "holds no result file" in command("visualize", "curves", labels, tmp_path / "empty", "--out", tmp_path).err


def test_nuscenes(command, real_data, tmp_path):
    folder = real_data / "nuscenes_sample"
    (infos,) = folder.glob("*.pkl")
    from structkd.datasets.points import NuScenesFrames
    from structkd.datasets.points.nuscenes_results import write_nuscenes_boxes

    labels = NuScenesFrames(folder, infos).labels()
    found = replace(labels, score=np.ones(len(labels)), ego=None, num_points=None)
    submission = write_nuscenes_boxes(tmp_path / "found.json", found)
    options = ("--infos", infos, "--results", submission, "--views", "bev", "--out", tmp_path)
    (name,) = drawn(command("visualize", "nuscenes", folder, *options))
    assert name == f"{labels.samples[0]}_bev.png" and imread(tmp_path / name).min() < 0.5


def test_tokens(command, tmp_path):
    config, work = "configs/images/trg/cnn_to_vit_digits.py", tmp_path / "work"
    short = ("run=teacher,plain", "stages.teacher.train_cfg.max_epochs=1", "stages.plain.train_cfg.max_epochs=1")
    options = ("--cfg-options", *short, "data.protocol.per_class=3", "data.latency_batches=[]")
    done = command("train", config, "--work-dir", work, "--seeds", "0", *options)
    assert done.code == 0, done.err
    drawing = ("visualize", "tokens", config, work, "--out", tmp_path / "pictures")
    assert drawn(command(*drawing, *options)) == ["tokens_0_2.png"]  # two of one class
    assert drawn(command(*drawing, "--images", "7", "3", "--stages", "plain", *options)) == ["tokens_7_3.png"]
    assert imread(tmp_path / "pictures" / "tokens_0_2.png").shape[0] > 600
    for wrong, message in (
        (("--images", "450"), "no test image 450; they are numbered from 0 to 449"),
        (("--stages", "trg"), "no stage 'trg'"),
        (("--field", "neck"), "stage 'teacher' gives no 'neck'"),
    ):
        done = command(*drawing, *wrong, *options)
        assert done.code == 2 and message in done.err


def test_errors(command, tiny_kitti, results, tmp_path):
    def refused(*arguments):
        done = command("visualize", "kitti", tiny_kitti, "--out", tmp_path, *arguments)
        assert done.code == 2 and "Traceback" not in done.err
        return done.err

    assert "no frame '000009'" in refused("--frames", "000009")
    assert "There is no folder" in refused("--results", tmp_path / "nowhere")
    assert "Two results are called 'good'" in refused("--results", results, results)
    (results / "000000.txt").unlink()
    assert "000000.txt" in refused("--results", results, "--frames", "000000")
    assert "Nearest: bev" in refused("--views", "bevs")
