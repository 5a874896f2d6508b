import numpy as np
import pytest
import torch

from structkd.datasets.graphs.npy import open_npy, scratch
from structkd.errors import DataError
from structkd.npy import writing_npy


@pytest.mark.parametrize("row", [(), (3,), (2, 2)])
def test_written_in_pieces_and_read_whole(tmp_path, row):
    path = tmp_path / "x.npy"
    pieces = [torch.randn(size, *row) for size in (0, 5, 1, 100)]
    with writing_npy(path, "float32", row) as file:
        for piece in pieces:
            file.append(piece)
    assert np.array_equal(np.load(path), torch.cat(pieces).numpy())
    assert torch.equal(open_npy(path, ("float32",), (106, *row)), torch.cat(pieces))


def test_an_interrupted_writer_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="do not fit"), writing_npy(tmp_path / "x.npy", "float32", (3,)) as file:
        file.append(torch.zeros(2, 4))
    assert list(tmp_path.iterdir()) == []


def test_empty_file(tmp_path):
    with writing_npy(tmp_path / "x.npy", "int64"):
        pass
    assert open_npy(tmp_path / "x.npy", ("int64",), (None,)).shape == (0,)


def test_refusals_name_the_file(tmp_path):
    path = tmp_path / "x.npy"
    with pytest.raises(DataError, match=r"There is no file .*x.npy. Make it."):
        open_npy(path, ("float32",), (None,), "Make it.")
    np.save(path, np.zeros((4, 3), dtype=np.float32))
    for dtypes, shape, words in (
        (("float16", "int8"), (None, None), "float32; expected float16 or int8"),
        (("float32",), (None,), r"\[4, 3\]; expected \[any\]"),
        (("float32",), (5, None), r"\[4, 3\]; expected \[5, any\]"),
    ):
        with pytest.raises(DataError, match=rf"x.npy .*{words}"):
            open_npy(path, dtypes, shape)
    np.save(path, np.asfortranarray(np.zeros((4, 3), dtype=np.float32)))
    with pytest.raises(DataError, match="rows one after another"):
        open_npy(path, ("float32",), (4, 3))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"x.npy cannot be read"):
        open_npy(path, ("float32",), (4, 3))
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"x.npy"):
        open_npy(path, ("object",), (1,))


def test_scratch_is_a_file_without_a_name(tmp_path):
    matrix = scratch(tmp_path / "new", (3, 2))
    matrix += 1
    assert matrix.tolist() == [[1, 1]] * 3
    assert list((tmp_path / "new").iterdir()) == []
    assert scratch(tmp_path, (0, 2)).shape == (0, 2)
    with pytest.raises(DataError, match="scratch space"):
        scratch(tmp_path, (2**40, 2**10))
