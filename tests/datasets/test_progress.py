from structkd.datasets.progress import progress


def test_progress(capsys):
    assert list(progress(iter("abcd"), 4, "letters")) == [*"abcd"]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"letters: {i} of 4" for i in (1, 2, 3, 4)]
    assert len(list(progress(range(1000), 1000, "numbers"))) == 1000
    assert len(capsys.readouterr().err.splitlines()) == 10
    assert list(progress([1], 1, "x", show=False)) == [1] and list(progress([], 0, "x")) == []
    assert capsys.readouterr().err == ""
