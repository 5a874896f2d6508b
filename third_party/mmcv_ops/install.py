"""Put the operators where mmcv-lite looks for its compiled extension."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from mmcv_ops.checkpoints import safe_checkpoints
from mmcv_ops.dense import mend_dense
from mmcv_ops.extension import NAME, Extension, compiled
from mmcv_ops.kitti_iou import replace_rotate_iou
from mmcv_ops.names import USED_BY
from mmcv_ops.packages import without_pkg_resources
from mmcv_ops.registry import OPERATORS
from mmcv_ops.spawn import pass_on
from mmcv_ops.spconv_cpu import mend_spconv
from mmcv_ops.weights import accept_both_layouts
from mmcv_ops.wrappers import free_of_cuda
from structkd.backends import version
from structkd.errors import ConfigError

#: What the stack was made for: (package, versions that are known to fit).
VERSIONS = {
    "mmengine": ("0.10",),
    "mmcv": ("2.0", "2.1"),
    "mmdet": ("3.0", "3.1", "3.2", "3.3"),
    "mmdet3d": ("1.1", "1.2", "1.3", "1.4"),
}


@dataclass(frozen=True)
class Info:
    """Whose operators mmcv.ops runs.

    Attributes:
        source: "mmcv_ops", "compiled" (a compiled mmcv is there, and its operators are used), or "none".
        path: file of the extension.
        operators: names of those provided here, in order; empty with a compiled mmcv.
        missing: those that mmcv.ops asks for and that are not provided.
    """

    source: str
    path: str | None
    operators: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        if self.source == "mmcv_ops":
            return f"mmcv.ops runs on mmcv_ops: {len(self.operators)} operators here, {len(self.missing)} missing"
        if self.source == "compiled":
            return f"mmcv.ops runs on the compiled extension {self.path}; mmcv_ops has stepped aside"
        return "mmcv.ops has no extension yet: call mmcv_ops.install() before it is imported"


def install(force: bool = False, trust_checkpoints: bool | None = None) -> Info:
    """Make `mmcv.ops` work without a compiler, and mmdet and mmdet3d with the versions that are installed.

    Call it before anything imports mmcv.ops, mmdet or mmdet3d; a second call does nothing more. What it does:

    * where no compiled `mmcv._ext` can be found, a module of that name on structkd's operators takes its place, and
      the wrappers in mmcv.ops that demand CUDA are replaced; where there is one, it is used as it is;
    * mmengine reads checkpoints without running what they hold (see `mmcv_ops.checkpoints`);
    * mmdet3d's rotated IoU for KITTI, which needs an NVIDIA driver, runs on structkd's;
    * sparse convolutions take weights in both layouts, and spconv's CPU build, where installed, computes rightly;
    * a torchvision that was built for CUDA is made importable beside a torch for the CPU, mmengine does without
      `pkg_resources`, and mmcv's sparse tensors without what torch has deprecated;
    * processes started by spawn (data-loader workers) do the same before they unpickle anything.

    Nothing heavy is imported: what changes a module waits until that module is imported.

    Args:
        force: use these operators although a compiled extension is there (to compare the two).
        trust_checkpoints: also load checkpoints that hold arbitrary Python objects, which can run code. Default: what
            was asked before, or the environment's `STRUCTKD_TRUST_CHECKPOINTS=1`, else no.

    Returns:
        What mmcv.ops will run on.

    Raises:
        ConfigError: mmcv is not installed or of a version that does not fit; mmcv.ops was imported before.
    """
    _check_versions()
    _extension(force)
    _compatibility(trust_checkpoints)
    pass_on(force)
    return info()


def info() -> Info:
    """Whose operators mmcv.ops runs, or would run after `install()` where nothing is in place yet."""
    module = sys.modules.get(NAME)
    if isinstance(module, Extension):
        missing = tuple(sorted(set(USED_BY) - set(OPERATORS)))
        return Info("mmcv_ops", module.__file__, tuple(sorted(OPERATORS)), missing)
    path = getattr(module, "__file__", None) or compiled()
    return Info("compiled" if path else "none", path, (), ())


def _extension(force: bool) -> None:
    there = sys.modules.get(NAME)
    if isinstance(there, Extension):
        return
    if there is None and (force or compiled() is None):
        if "mmcv.ops" in sys.modules:
            raise ConfigError("mmcv.ops was imported before mmcv_ops.install(), without an extension; call it first.")
        sys.modules[NAME] = Extension()
        if "mmcv" in sys.modules:  # as the import system does when it loads a submodule
            sys.modules["mmcv"]._ext = sys.modules[NAME]  # type: ignore[attr-defined]
        free_of_cuda()
    elif there is not None and force:
        raise ConfigError(
            f"install(force=True): {getattr(there, '__file__', there)} is loaded already; call it in a new process, "
            "before anything imports mmcv.ops."
        )


def _compatibility(trust_checkpoints: bool | None) -> None:
    safe_checkpoints(trust_checkpoints)
    replace_rotate_iou()
    accept_both_layouts()
    mend_dense()
    mend_spconv()
    without_pkg_resources()
    if importlib.util.find_spec("torchvision") is not None and "torchvision" not in sys.modules:
        from structkd.backends import import_torchvision

        import_torchvision()


def _check_versions() -> None:
    if version("mmcv") is None:
        raise ConfigError("mmcv is not installed. Install the stack: pip install 'structkd[mmdet3d]'.")
    wrong = [
        f"{package} {found} (expected {_listed(known)})"
        for package, known in VERSIONS.items()
        if (found := version(package)) is not None and not found.startswith(tuple(f"{start}." for start in known))
    ]
    if wrong and os.environ.get("STRUCTKD_ANY_VERSION") != "1":
        raise ConfigError(
            f"Installed versions do not fit together: {'; '.join(wrong)}. pip install 'structkd[mmdet3d]' brings those "
            "that do. STRUCTKD_ANY_VERSION=1 tries with what is there."
        )


def _listed(starts: Iterable[str]) -> str:
    return ", ".join(f"{start}.x" for start in starts)
