from pathlib import Path

import pytest
from mmcv_ops import OPERATORS
from mmcv_ops.extension import Extension
from mmcv_ops.names import USED_BY
from mmcv_ops.table import table, with_table

from structkd.errors import DataError

README = Path(__file__).parents[3] / "third_party" / "README.md"


def test_the_readme_lists_what_is_here():
    text = README.read_text()
    assert with_table(text) == text, "run: python -m mmcv_ops --write third_party/README.md"


def test_the_table_names_every_function():
    text = table()
    assert all(f"`{name}`" in text or f"`{USED_BY[name]}`" in text for name in USED_BY)


def test_every_operator_is_one_that_mmcv_asks_for():
    assert not set(OPERATORS) - set(USED_BY)


@pytest.mark.parametrize("name", sorted(set(USED_BY) - set(OPERATORS)))
def test_a_missing_one_names_itself(name):
    with pytest.raises(NotImplementedError, match=f"'{name}'"):
        getattr(Extension(), name)()


def test_a_file_without_marks_is_an_error():
    with pytest.raises(DataError, match="has no '<!-- mmcv_ops -->'"):
        with_table("text")
