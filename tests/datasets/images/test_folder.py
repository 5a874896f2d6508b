import io

import numpy as np
import pytest
import torch
from PIL import Image

from structkd.datasets import folder_images, tiny_images
from structkd.datasets.images.image_set import join
from structkd.errors import ConfigError, DataError


def grey(images):
    return [int(images.image(row)[0, 0, 0]) for row in range(len(images))]


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("archive", [None, "x.tar.gz", "x.zip"])
def test_classes_in_folders(pictures, tmp_path, archive, hold, pack):
    root = pictures if archive is None else pack(pictures, tmp_path / archive)
    images = folder_images(root, hold=hold)
    assert images.classes == ("ant", "cat") and images.y.tolist() == [0, 0, 1, 1, 1]
    assert grey(images) == [20, 21, 10, 11, 12]
    assert (images.pixels is not None) == hold
    assert images.image(0).shape == (3, 6, 8) and images.image(0).dtype == torch.uint8
    assert grey(folder_images(root, "test", hold=hold)) == [31, 30]


@pytest.mark.parametrize("archive", [None, "x.tar.gz", "x.zip"])
def test_hidden_folders_are_left_out(pictures, tmp_path, archive, write_tree, pack):
    hidden = (".ipynb_checkpoints/x.jpg", ".cache/deep/x.jpg", "cat/.ipynb_checkpoints/x.png", "cat/deep/.x/y/x.png")
    write_tree(pictures / "train", dict.fromkeys(hidden, "none"))
    images = folder_images(pictures if archive is None else pack(pictures, tmp_path / archive))
    assert images.classes == ("ant", "cat") and grey(images) == [20, 21, 10, 11, 12]


def test_a_hidden_folder_around_everything(pictures, tmp_path):
    pictures.rename(tmp_path / ".data")
    assert len(folder_images(tmp_path / ".data")) == 5


def test_pictures_of_many_kinds_are_brought_to_one_size(tmp_path, picture, write_tree):
    files = {
        "train/a/0.jpg": picture(40, (20, 10), "JPEG"),
        "train/a/deep/1.png": picture(50, (5, 9), "PNG", "L"),
        "train/a/2.gif": picture(60, (6, 6), "GIF", "L"),
        "train/a/3.webp": picture(70, (16, 12), "WEBP"),
    }
    root = write_tree(tmp_path / "x", files)
    assert folder_images(root, size=6).pixels.shape == (4, 3, 6, 6)
    assert all(abs(a - b) <= 3 for a, b in zip(grey(folder_images(root, size=6)), [40, 60, 70, 50]))
    assert folder_images(root, hold=False).image(0).shape == (3, 10, 20)
    with pytest.raises(DataError, match=r"Images 0 and 1 have the sizes 20x10 and 6x6.*size=.*hold=False"):
        folder_images(root)
    with pytest.raises(ConfigError, match="size=0"):
        folder_images(root, size=0)


def test_the_middle_is_kept(tmp_path):
    wide = Image.new("RGB", (30, 10), (255, 0, 0))
    wide.paste((0, 0, 255), (10, 0, 20, 10))
    (tmp_path / "train" / "a").mkdir(parents=True)
    wide.save(tmp_path / "train" / "a" / "0.png")
    assert folder_images(tmp_path, size=10).pixels[0].flatten(1).unique(dim=1).tolist() == [[0], [0], [255]]


def test_bad_folders(pictures, tmp_path, pack):
    (pictures / "train" / "dog").mkdir()
    for root in (pictures, pack(pictures, tmp_path / "x.tar.gz")):
        with pytest.raises(DataError, match=r"train/dog holds no picture \(1 of 3 classes have none\).*\.jpg"):
            folder_images(root)
    (tmp_path / "y" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"y/train has no folders; expected one a class"):
        folder_images(tmp_path / "y")
    with pytest.raises(DataError, match=r"no folder 'val'.*test, train"):
        folder_images(pictures, "val")


def test_splits_of_other_classes(pictures, picture, write_tree):
    write_tree(pictures, {"test/bee/0.png": picture(1)})
    sets = folder_images(pictures), folder_images(pictures, "test")
    with pytest.raises(DataError, match=r"'train' and 'test' name different classes: 'test' lacks none .*\['bee'\]"):
        join(sets, ("train", "test"))
    with pytest.raises(DataError, match=r"'train' lacks \['bee'\] and has besides none\."):
        join(sets[::-1], ("test", "train"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_damaged_pictures(tmp_path, rng, kind, write_tree):
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (20, 24), dtype=np.uint8)).save(buffer, kind)
    content = buffer.getvalue()
    path = tmp_path / "train" / "a" / "broken.png"
    write_tree(tmp_path, {"train/a/broken.png": b""})
    for end in (0, 1, 10, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:end])
        with pytest.raises(DataError, match=r"train/a/broken\.png is no readable picture"):
            folder_images(tmp_path)
    for _ in range(60):
        broken = bytearray(content)
        for place in rng.integers(len(content), size=3):
            broken[place] = rng.integers(256)
        path.write_bytes(broken)
        try:
            assert folder_images(tmp_path, size=8).pixels.shape == (1, 3, 8, 8)
        except DataError as error:
            assert "broken.png" in str(error)
    path.write_text("no picture")
    images = folder_images(tmp_path, hold=False)  # decoded, and found out, when it is asked for
    with pytest.raises(DataError, match=r"broken\.png"):
        images.image(0)


@pytest.fixture
def tiny(picture):
    """Files of Tiny-ImageNet's layout with two classes."""
    return {
        "train/n02/images/n02_0.JPEG": picture(10, (64, 64), "JPEG"),
        "train/n02/n02_boxes.txt": "n02_0.JPEG\t0\t0\t1\t1\n",
        "train/n01/images/n01_0.JPEG": picture(20, (64, 64), "JPEG"),
        "val/images/val_0.JPEG": picture(30, (64, 64), "JPEG"),
        "val/images/val_1.JPEG": picture(40, (64, 64), "JPEG"),
        "val/val_annotations.txt": "val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\n",
        "wnids.txt": "n02\nn01\n",
    }


def test_tiny_imagenet(tmp_path, tiny, write_tree, pack):
    write_tree(tmp_path / "around" / "tiny-imagenet-200", tiny)
    for root in (tmp_path / "around", pack(tmp_path / "around", tmp_path / "tiny-imagenet-200.zip")):
        train, val = tiny_images(root), tiny_images(root, "val")
        assert train.classes == val.classes == ("n01", "n02")
        assert (train.y.tolist(), grey(train)) == ([0, 1], [20, 10])
        assert (val.y.tolist(), grey(val)) == ([0, 1], [40, 30])
    with pytest.raises(DataError, match="none named 'test'"):
        tiny_images(tmp_path / "around", "test")


def test_blank_lines_of_annotations(tmp_path, tiny, write_tree):
    lines = tiny["val/val_annotations.txt"].replace("\n", "\r\n")
    write_tree(tmp_path, dict(tiny, **{"val/val_annotations.txt": f"\r\n{lines} \r\n\r\n"}))
    assert grey(tiny_images(tmp_path, "val")) == [40, 30]


@pytest.mark.parametrize(
    ("annotations", "match"),
    [
        (None, r"no file .*val_annotations\.txt"),
        ("val_0.JPEG\tn02\n", r"no line for the picture images/val_1\.JPEG"),
        ("val_0.JPEG\tn02\nval_1.JPEG\tn01\nval_2.JPEG\tn01\n", r"names the picture images/val_2\.JPEG"),
        ("val_0.JPEG\tn02\nval_1.JPEG\n", r"line 2: expected a picture's name, a tab and its class"),
        ("val_0.JPEG\tn02\n\nval_1.JPEG\tn01\nval_0.JPEG\tn01\n", r"line 4: a second line .* images/val_0\.JPEG"),
        ("\0\xff", r"line 1"),
    ],
)
def test_wrong_annotations(tmp_path, tiny, annotations, match, write_tree):
    files = dict(tiny, **{"val/val_annotations.txt": annotations or ""})
    write_tree(tmp_path, files)
    if annotations is None:
        (tmp_path / "val" / "val_annotations.txt").unlink()
    with pytest.raises(DataError, match=match):
        tiny_images(tmp_path, "val")
