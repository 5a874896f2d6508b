"""The mmdet3d stack, made ready: is it there, are its operators, and does it know our parts?"""

from __future__ import annotations

import importlib
import warnings
from functools import cache

from structkd.backends import version
from structkd.errors import ConfigError, reason

#: What `pip install structkd[mmdet3d]` brings that is looked for here.
PACKAGES = ("mmengine", "mmcv", "mmdet", "mmdet3d")


def missing() -> list[str]:
    """Packages of the stack that are not installed."""
    return [name for name in PACKAGES if version(name) is None]


@cache
def prepare() -> None:
    """Install the operators, import mmdet3d, and register our parts with mmengine; done once a process.

    Raises:
        ConfigError: a package is not installed or does not import, with what to do about it.
    """
    if absent := missing():
        raise ConfigError(
            f"This config is for mmdet3d's runner, but {', '.join(absent)} "
            f"{'is' if len(absent) == 1 else 'are'} not installed. Install the stack: pip install 'structkd[mmdet3d]'; "
            "no compiler is needed."
        )
    install_operators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module("mmdet3d.registry")
            importlib.import_module("mmdet3d.models")
        except (ImportError, AssertionError, RuntimeError) as error:
            raise ConfigError(
                f"mmdet3d does not import: {reason(error)}. Versions that fit: pip install 'structkd[mmdet3d]'."
            ) from error
    importlib.import_module("structkd.engine.openmmlab.registered")


def install_operators() -> None:
    """mmcv's operators in PyTorch, unless a compiled mmcv is there: see `third_party/mmcv_ops`."""
    import mmcv_ops

    mmcv_ops.install()
