"""CIFAR's files, written here as their authors' programs write them, with fewer images."""

import os
import pickle
import struct

import numpy as np
import pytest
import torch

from structkd.datasets import cifar_images
from structkd.datasets.images import cifar
from structkd.errors import ConfigError, DataError

NAMES = {10: [f"c{n}" for n in range(10)], 100: [f"f{n:02d}" for n in range(100)]}


@pytest.fixture
def small(monkeypatch):
    """A CIFAR of 20 training and 3 test images."""
    monkeypatch.setattr(cifar, "SIZES", {"train": 20, "test": 3})


def rows(rng, count, num_classes):
    return rng.integers(0, 256, (count, 3072), dtype=np.uint8), rng.integers(0, num_classes, count).tolist()


def python(rng, num_classes, dump=lambda value: pickle.dumps(value, 2)):
    """The Python version; (files, training pixels and labels)."""
    if num_classes == 10:
        batches = {f"data_batch_{n}": rows(rng, 4, 10) for n in range(1, 6)} | {"test_batch": rows(rng, 3, 10)}
        folder, key, meta = "cifar-10-batches-py", "labels", ("batches.meta", "label_names")
    else:
        batches = {"train": rows(rng, 20, 100), "test": rows(rng, 3, 100)}
        folder, key, meta = "cifar-100-python", "fine_labels", ("meta", "fine_label_names")
    files = {f"{folder}/{name}": dump({"data": x, key: y}) for name, (x, y) in batches.items()}
    files[f"{folder}/{meta[0]}"] = dump({meta[1]: NAMES[num_classes]})
    return files, *joined(batches)


def binary(rng, num_classes):
    """The binary version; (files, training pixels and labels)."""
    if num_classes == 10:
        batches = {f"data_batch_{n}.bin": rows(rng, 4, 10) for n in range(1, 6)} | {"test_batch.bin": rows(rng, 3, 10)}
        folder, meta = "cifar-10-batches-bin", "batches.meta.txt"
    else:
        batches = {"train.bin": rows(rng, 20, 100), "test.bin": rows(rng, 3, 100)}
        folder, meta = "cifar-100-binary", "fine_label_names.txt"
    files = {}
    for name, (x, y) in batches.items():
        labels = np.array(y, np.uint8)[:, None]
        head = labels if num_classes == 10 else np.concatenate([255 - labels, labels], 1)
        files[f"{folder}/{name}"] = np.concatenate([head, x], 1).tobytes()
    files[f"{folder}/{meta}"] = "\n".join(NAMES[num_classes]) + "\n\n"
    return files, *joined(batches)


def joined(batches):
    train = [value for name, value in batches.items() if not name.startswith("test")]
    return np.concatenate([x for x, _ in train]), [label for _, y in train for label in y]


def text(value):
    """A string as Python 2 pickles it: bytes without an encoding."""
    return b"T" + struct.pack("<i", len(value)) + value


def python2(value):
    """A pickle as Python 2 with numpy 1 writes it, from the published description of the opcodes."""

    def dump(value):
        if isinstance(value, dict):
            return b"}(" + b"".join(dump(key) + dump(item) for key, item in value.items()) + b"u"
        if isinstance(value, list):
            return b"](" + b"".join(dump(item) for item in value) + b"e"
        if isinstance(value, int):
            return b"J" + struct.pack("<i", value)
        if isinstance(value, str):
            return text(value.encode())
        dtype = (
            b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR(K\x03" + text(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2
        )
        dtype += b"K\x00tb"
        shape = b"(" + b"".join(dump(size) for size in value.shape) + b"t"
        empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
        return empty + b"(K\x01" + shape + dtype + b"\x89" + text(value.tobytes()) + b"tb"

    return b"\x80\x02" + dump(value) + b"."


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("num_classes", [10, 100])
@pytest.mark.parametrize("write", [python, binary, lambda rng, k: python(rng, k, python2)], ids=["py", "bin", "py2"])
def test_both_versions(tmp_path, rng, write, num_classes, write_tree, pack):
    files, x, y = write(rng, num_classes)
    around = write_tree(tmp_path / "around", files)
    inside = around / next(iter(files)).split("/")[0]
    for root in (around, inside, pack(around, tmp_path / "cifar.tar.gz")):
        images = cifar_images(root, "train", num_classes)
        assert images.classes == tuple(NAMES[num_classes]) and images.y.tolist() == y
        assert torch.equal(images.pixels, torch.from_numpy(x).view(-1, 3, 32, 32))
        assert len(cifar_images(root, "test", num_classes)) == 3


@pytest.mark.usefixtures("small")
def test_which_is_not_there(tmp_path, rng, write_tree):
    write_tree(tmp_path, python(rng, 10)[0])
    with pytest.raises(DataError, match=r"no CIFAR-100: expected the file train or train\.bin"):
        cifar_images(tmp_path, num_classes=100)
    with pytest.raises(ConfigError, match="num_classes=20"):
        cifar_images(tmp_path, num_classes=20)
    with pytest.raises(ConfigError, match="split='val'"):
        cifar_images(tmp_path, "val")
    for name in ("batches.meta", "data_batch_4"):
        (tmp_path / "cifar-10-batches-py" / name).unlink()
        with pytest.raises(DataError, match=rf"no file .*{name}"):
            cifar_images(tmp_path)


X, Y = np.zeros((3, 3072), np.uint8), [0, 1, 2]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("batch", "match"),
    [
        ([1], "holds no 'data'; .* got list of 1"),
        ({"data": X}, "holds no 'labels'"),
        ({"data": X[:, 1:], "labels": Y}, r"uint8 array \[3, 3072\], got an array uint8 \[3, 3071\]"),
        ({"data": X[:2], "labels": Y[:2]}, r"uint8 array \[3, 3072\], got an array uint8 \[2, 3072\]"),
        ({"data": X.astype(float), "labels": Y}, "got an array float64"),
        ({"data": "x", "labels": Y}, "got str of 1"),
        ({"data": X, "labels": Y[:1]}, "list of 3 classes, got list of 1"),
        ({"data": X, "labels": [0, 1, 1.0]}, "list of 3 classes"),
        ({"data": X, "labels": [0, 1, 2**70]}, "no class"),
        ({"data": X, "labels": [0, 1, 10]}, "labels go from 0 to 10; CIFAR-10 has 0 to 9"),
        ({"data": X, "labels": [0, 1, -1]}, "labels go from -1"),
        ({"data": X, "labels": [os.getenv, 1, 2]}, "asks for .*neither plain data nor a numpy array"),
    ],
)
def test_wrong_pickles(tmp_path, rng, batch, match, write_tree):
    files = python(rng, 10)[0] | {"cifar-10-batches-py/test_batch": pickle.dumps(batch)}
    with pytest.raises(DataError, match=f"(?s)cifar-10-batches-py.*{match}"):
        cifar_images(write_tree(tmp_path, files), "test")


@pytest.mark.usefixtures("small")
def test_wrong_names(tmp_path, rng, write_tree):
    for meta in ({"label_names": ["a"]}, {"label_names": 10}, {}):
        files = python(rng, 10)[0] | {"cifar-10-batches-py/batches.meta": pickle.dumps(meta)}
        with pytest.raises(DataError, match=r"batches\.meta.*(10 classes|holds no 'label_names')"):
            cifar_images(write_tree(tmp_path, files))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("size", [0, 1, 3072, 3074, 2 * 3073, 3 * 3073 - 1, 4 * 3073])
def test_binary_files_of_a_wrong_length(tmp_path, rng, size, write_tree):
    files = binary(rng, 10)[0] | {"cifar-10-batches-bin/test_batch.bin": b"\0" * size}
    with pytest.raises(DataError, match=rf"test_batch\.bin has {size:,} bytes; expected 3 images of 3,073 bytes"):
        cifar_images(write_tree(tmp_path, files), "test")


def test_published_sizes(tmp_path, rng, write_tree):
    for num_classes, name, count in ((10, "data_batch_1", "10,000"), (100, "train", "50,000"), (100, "test", "10,000")):
        root = write_tree(tmp_path / f"{num_classes}", binary(rng, num_classes)[0])
        with pytest.raises(DataError, match=rf"{name}\.bin has .* expected {count} images"):
            cifar_images(root, "test" if name == "test" else "train", num_classes)
    path = tmp_path / "10" / "cifar-10-batches-bin" / "test_batch.bin"
    path.write_bytes(bytes(10_000 * 3073))
    assert len(cifar_images(tmp_path / "10", "test")) == 10_000
    path.write_bytes(bytes(9_999 * 3073))
    with pytest.raises(DataError, match=r"expected 10,000 images of 3,073 bytes: it is cut short"):
        cifar_images(tmp_path / "10", "test")


@pytest.mark.usefixtures("small")
def test_damaged_pickles(tmp_path, rng, write_tree):
    files = python(rng, 10)[0]
    write_tree(tmp_path, files)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    content = path.read_bytes()
    for _ in range(60):
        broken = bytearray(content[: rng.integers(len(content))] if rng.random() < 0.3 else content)
        for place in rng.integers(max(len(broken), 1), size=2) * (rng.random(2) < 0.9):
            broken[place : place + 1] = bytes([rng.integers(256)])
        path.write_bytes(broken)
        try:
            cifar_images(tmp_path, "test")
        except DataError as error:
            assert "cifar-10-batches-py" in str(error) or "labels" in str(error)
