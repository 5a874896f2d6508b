import pytest

from structkd.datasets.images.tree import open_tree
from structkd.errors import DataError

FILES = {"train/a/1": b"one", "train/a/b/2": b"two", "test/3": b"three", "4": b"four"}
NAMES = ("x.tar", "x.tar.gz", "x.tgz", "x.zip")


@pytest.fixture(params=["folder", *NAMES])
def root(request, tmp_path, write_tree, pack):
    folder = write_tree(tmp_path / "x", FILES)
    (folder / "train" / "empty").mkdir()
    return folder if request.param == "folder" else pack(folder, tmp_path / request.param)


def test_folders_and_archives_read_alike(root):
    tree = open_tree(root, "train")
    assert tree.names == ["a/1", "a/b/2"] and tree.folders == {"a", "a/b", "empty"}
    assert tree.read("a/b/2") == b"two"
    assert open_tree(root).names == sorted(FILES)
    assert open_tree(root, keep=lambda name: name.endswith("4")).names == ["4"]
    with pytest.raises(DataError, match=r"no file .*x.*train/a/3"):
        tree.read("a/3")
    with pytest.raises(DataError, match=r"no folder 'valid', or several; at its top there is .*test"):
        open_tree(root, "valid")


@pytest.mark.parametrize("name", NAMES)
def test_one_folder_around_everything_is_skipped(tmp_path, name, write_tree, pack):
    outer = tmp_path / "outer"
    write_tree(outer / "x", FILES)
    for root in (outer, pack(outer, tmp_path / name)):
        assert open_tree(root, "train").names == ["a/1", "a/b/2"]
    write_tree(outer / "y", {"train/5": b"five"})
    for root in (outer, pack(outer, tmp_path / name)):
        with pytest.raises(DataError, match="or several"):
            open_tree(root, "train")
    write_tree(outer, {"train/6": b"six"})
    for root in (outer, pack(outer, tmp_path / name)):
        assert open_tree(root, "train").names == ["6"]


@pytest.mark.parametrize("name", NAMES)
def test_damaged_archives(tmp_path, rng, name, write_tree, pack):
    content = pack(write_tree(tmp_path / "x", FILES), tmp_path / name).read_bytes()
    path = tmp_path / f"damaged_{name}"
    for end in (0, 1, 10, *rng.integers(11, len(content) - 1, 20)):
        path.write_bytes(content[:end])
        try:
            assert open_tree(path, "train").names == ["a/1", "a/b/2"]  # cut in the padding behind its last file
        except DataError as error:
            assert str(path) in str(error)
    for _ in range(30):
        broken = bytearray(content)
        broken[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        try:
            open_tree(path, "train")
        except DataError as error:
            assert str(path) in str(error)


def test_what_is_no_tree(tmp_path):
    with pytest.raises(DataError, match=r"no folder or archive .*none"):
        open_tree(tmp_path / "none")
    (tmp_path / "x.rar").write_bytes(b"")
    with pytest.raises(DataError, match=r"x\.rar is neither a folder nor an archive"):
        open_tree(tmp_path / "x.rar")
