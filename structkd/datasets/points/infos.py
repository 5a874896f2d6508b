"""Info files: the pickles that mmdet3d 1.x (and the converters of most LiDAR datasets) keep annotations in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from structkd.datasets.pickles import read_pickle
from structkd.errors import DataError, StructkdError, reason


def read_infos(path: str | Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An info file of mmdet3d 1.x ("version 2" infos).

    Returns:
        `metainfo` (with `categories`, names to numbers, and `dataset`) and `data_list`, one dict a frame.

    Raises:
        DataError: as `read_pickle`; infos of mmdet3d 0.x, which are a bare list; a missing or wrong entry.
    """
    infos = read_pickle(path)
    if isinstance(infos, list) or (isinstance(infos, dict) and "infos" in infos):
        raise DataError(
            f"{path} is an info file of mmdet3d 0.x; expected one of 1.x, a dict of metainfo and data_list. Make it "
            "anew with `python tools/create_data.py kitti ROOT`, or convert it with mmdet3d's update_infos_to_v2.py."
        )
    if not isinstance(infos, dict) or not {"metainfo", "data_list"} <= infos.keys():
        raise DataError(f"{path} holds a {type(infos).__name__}; expected a dict of metainfo and data_list.")
    metainfo, data_list = infos["metainfo"], infos["data_list"]
    if not isinstance(metainfo, dict) or not isinstance(data_list, list):
        raise DataError(f"{path}: metainfo must be a dict and data_list a list.")
    categories = metainfo.get("categories")
    if not isinstance(categories, dict) or not all(
        isinstance(name, str) and isinstance(number, int) for name, number in categories.items()
    ):
        raise DataError(f"{path}: metainfo has no categories; expected a dict of names and their numbers.")
    for row, info in enumerate(data_list):
        if not isinstance(info, dict):
            raise DataError(f"{path}: data_list[{row}] is a {type(info).__name__}; expected a dict.")
    return metainfo, data_list


@contextmanager
def entry_of(path: str | Path, row: int) -> Iterator[None]:
    """Turns what goes wrong while an entry of `data_list` is read into a `DataError` that names file and entry."""
    try:
        yield
    except StructkdError as error:
        raise DataError(f"{path}: data_list[{row}]: {error}") from error
    except KeyError as error:
        raise DataError(f"{path}: data_list[{row}] has no {reason(error)}.") from error
    except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise DataError(f"{path}: data_list[{row}] has an entry of a wrong type or shape ({reason(error)}).") from error
