import pytest

from structkd.datasets.files import damaged, require_file
from structkd.errors import DataError


def test_files_that_are_there_and_that_are_not(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(DataError, match=r"There is no file .*x\.npz\. Download it\."):
        require_file(path, "Download it.")
    path.write_bytes(b"")
    assert require_file(str(path), "") == path
    with pytest.raises(DataError, match="no file"):
        require_file(tmp_path, "")


def test_what_a_damaged_file_says(tmp_path):
    error = damaged(tmp_path / "x", ValueError("broken\nheader"), "Get it again.")
    assert isinstance(error, DataError)
    assert str(error).endswith(
        "x cannot be read (broken header): it is damaged, cut short or of another format. Get it again."
    )
