"""Processes that are started anew (spawn, forkserver) install the operators as the one that starts them did.

A data-loader's worker unpickles a dataset of mmdet3d, and with it imports mmcv.ops, before any code of the program
runs. What the parent sends ahead of it, the preparation data, is therefore given one more entry, which installs.
"""

from __future__ import annotations

import multiprocessing.spawn
from typing import Any

from mmcv_ops.checkpoints import trusted

_asked: dict[str, bool] = {}


class _Installed:
    """Unpickling it calls `install`."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return install_again, (_asked["force"], trusted())


def install_again(force: bool, trust_checkpoints: bool) -> None:
    """`install` in the new process."""
    from mmcv_ops.install import install

    install(force, trust_checkpoints)


def pass_on(force: bool) -> None:
    """From now on, new processes install too."""
    first = not _asked
    _asked["force"] = force
    if not first:
        return
    prepare = multiprocessing.spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {**prepare(name), "mmcv_ops": _Installed()}

    multiprocessing.spawn.get_preparation_data = get_preparation_data
