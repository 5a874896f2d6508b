import os
import pickle

import numpy as np
import pytest

from structkd.datasets.pickles import plain_pickle, read_pickle
from structkd.errors import DataError


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_and_arrays_are_read(tmp_path, protocol):
    value = {"a": [1, 2.5, None, True, "text", (3,)], "b": np.arange(6.0).reshape(2, 3), "c": np.float32(2), "d": {1}}
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    read = read_pickle(path)
    assert read["a"] == value["a"] and np.array_equal(read["b"], value["b"])
    assert read["c"] == 2 and read["c"].dtype == np.float32 and read["d"] == {1}


class _Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval, os.getenv, getattr, np.load, pickle.loads, KeyError])
def test_nothing_is_run(tmp_path, function):
    marker, path = tmp_path / "ran", tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps([_Runs(function, f"touch {marker}")]))
    with pytest.raises(DataError, match=r"x\.pkl asks for .*neither plain data nor a numpy array"):
        read_pickle(path)
    assert not marker.exists()


def test_text_of_python_2():
    content = b"\x80\x02}T\x02\x00\x00\x00a\xe9K\x01s."  # {"a\xe9": 1}, whose key has bytes and no encoding
    assert plain_pickle(content, "x.pkl", "latin1") == {"a\xe9": 1}
    with pytest.raises(DataError, match=r"x\.pkl is no readable pickle"):
        plain_pickle(content, "x.pkl")


def test_damaged_files(tmp_path):
    path = tmp_path / "x.pkl"
    with pytest.raises(DataError, match=r"no file .*x\.pkl"):
        read_pickle(path)
    path.write_bytes(pickle.dumps(list(range(100)))[:-5])
    with pytest.raises(DataError, match=r"x\.pkl is no readable pickle .*damaged or cut short"):
        read_pickle(path)
