import os

import pytest

from structkd.datasets.atomic import progress, write_whole


def test_writes_whole_files(tmp_path):
    path = write_whole(tmp_path / "new" / "x.txt", "é")
    assert path.read_bytes() == "é".encode() and [p.name for p in path.parent.iterdir()] == ["x.txt"]
    assert write_whole(path, b"\0", durable=True).read_bytes() == b"\0"


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "x", "old")

    def fails(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x"]


def test_progress(capsys):
    assert list(progress(iter("abcd"), 4, "letters")) == [*"abcd"]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"letters: {i} of 4" for i in (1, 2, 3, 4)]
    assert len(list(progress(range(1000), 1000, "numbers"))) == 1000
    assert len(capsys.readouterr().err.splitlines()) == 10
    assert list(progress([1], 1, "x", show=False)) == [1] and list(progress([], 0, "x")) == []
    assert capsys.readouterr().err == ""
