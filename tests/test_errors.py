import pytest

from structkd.errors import DataError, StructkdError, located, nearest, reason


def test_nearest_lists_what_is_close_or_all_there_is():
    assert nearest("hiden", ["hidden", "dropout"]) == "Nearest: hidden."
    assert nearest("zzz", ["b", "a", 3]) == "Available: 3, a, b."
    assert nearest("zzz", []) == "There is nothing to choose from."
    assert nearest("zzz", [f"n{i:02}" for i in range(25)]).endswith("n19, ....")


def test_located_names_the_place_once():
    with pytest.raises(DataError, match=r"^stages\.a: x holds NaN$"), located("stages.a"):
        raise DataError("x holds NaN")
    with (
        pytest.raises(DataError, match=r"^stages\.a\.model: too wide$"),
        located("stages.a"),
        located("stages.a.model"),
    ):
        raise DataError("too wide")
    with pytest.raises(KeyError), located("stages.a"):
        raise KeyError("a bug is no bad input")
    assert issubclass(DataError, StructkdError) and issubclass(StructkdError, ValueError)


def test_reason_is_one_short_line():
    assert reason(ValueError("one\n  two\tthree")) == "one two three"
    assert reason(ValueError("\x1b[1mbold\x1b[0m")) == "bold"
    assert reason(EOFError()) == "EOFError"
    assert len(reason(ValueError("x" * 500))) == 200
