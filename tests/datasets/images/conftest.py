import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image


def _picture(number, size=(8, 6), kind="PNG", mode="RGB"):
    """Bytes of a picture of one grey level."""
    buffer = io.BytesIO()
    Image.new(mode, size, number if mode == "L" else (number,) * 3).save(buffer, kind)
    return buffer.getvalue()


def _write_tree(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def _pack(root, path):
    """The folder `root` as an archive, without a folder around it."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(root.rglob("*"), reverse=True):
                archive.write(file, file.relative_to(root))
    else:
        with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
            for file in sorted(root.rglob("*"), reverse=True):
                archive.add(file, f"./{file.relative_to(root)}", recursive=False)
    return path


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def pictures(tmp_path):
    """Two classes of three and two training pictures, one test picture each; the grey level tells which it is."""
    files = {f"train/cat/{n}.png": _picture(10 + n) for n in range(3)}
    files |= {f"train/ant/{n}.PNG": _picture(20 + n) for n in range(2)}
    files |= {"test/cat/0.png": _picture(30), "test/ant/0.png": _picture(31)}
    files |= {"train/cat/notes.txt": "none", "train/cat/.hidden.png": "none", "README": "none"}
    return _write_tree(tmp_path / "pictures", files)


@pytest.fixture
def picture():
    """Makes the bytes of a picture: `picture(grey_level, size=(8, 6), kind="PNG", mode="RGB")`."""
    return _picture


@pytest.fixture
def write_tree():
    """Writes files: `write_tree(root, {name: content})` -> root."""
    return _write_tree


@pytest.fixture
def pack():
    """Makes an archive of a folder: `pack(root, path)` -> path."""
    return _pack
