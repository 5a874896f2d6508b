"""What mmengine asks `pkg_resources`, which setuptools no longer brings since version 81."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path
from typing import Any

from mmcv_ops.hooks import when_imported
from structkd.backends import version


def is_installed(package: str) -> bool:
    """Whether there is a distribution or a module of that name."""
    return version(package) is not None or _folder(package) is not None


def get_installed_path(package: str) -> str:
    """Folder of an installed package, by the name of its distribution or of its module.

    Raises:
        ModuleNotFoundError: there is none, or it has no folder of its own.
    """
    if (folder := _folder(package)) is not None:
        return folder
    return _required(package2module(package))


def package2module(package: str) -> str:
    """Name of the module that a distribution brings.

    Raises:
        ModuleNotFoundError: no such distribution.
    """
    for module, owners in metadata.packages_distributions().items():
        if package in owners and _folder(module) is not None:
            return module
    raise ModuleNotFoundError(f"No package '{package}' is installed.")


def _folder(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return None if spec is None or spec.origin is None else str(Path(spec.origin).parent)


def _required(module: str) -> str:
    folder = _folder(module)
    if folder is None:
        raise ModuleNotFoundError(f"Module '{module}' has no folder of its own.")
    return folder


def _replace(module: Any) -> None:
    for function in (is_installed, get_installed_path, package2module):
        if hasattr(module, function.__name__):
            setattr(module, function.__name__, function)


def without_pkg_resources() -> None:
    """Arrange for it, whenever mmengine.utils is imported, unless `pkg_resources` is there."""
    if importlib.util.find_spec("pkg_resources") is None:
        when_imported("mmengine.utils.package_utils", _replace)
        when_imported("mmengine.utils", _replace)
