"""OpenMMLab's checkpoints: weights for a model, and the student's part of one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from structkd.errors import CheckpointError, StructkdError, reason
from structkd.files import atomic_torch_save

#: What the student's parameters begin with in a checkpoint of a `DistilledDetector`.
PREFIX = "student."


def read_checkpoint(source: str | Path) -> dict[str, Any]:
    """A checkpoint, from a file or an address, by mmengine's loaders as `mmcv_ops` has mended them.

    Raises:
        CheckpointError: no such file, one that is damaged or asks for more than plain data, or that holds no dict.
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    try:
        checkpoint = CheckpointLoader.load_checkpoint(str(source), map_location="cpu", logger=None)
    except StructkdError:
        raise
    except Exception as error:  # a damaged file or a broken connection can raise anything
        raise CheckpointError(f"{source} is no readable checkpoint: {reason(error)}") from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{source} holds a {type(checkpoint).__name__}; expected a dict.")
    return checkpoint


def state_of(checkpoint: Mapping[str, Any], student: bool = False) -> OrderedDict[str, Tensor]:
    """The state dict in a checkpoint, with the note of its layout (`_metadata`) that spconv's layers look at.

    Args:
        checkpoint: as read. student: take the student's part, where it is one of a `DistilledDetector`.
    """
    given = checkpoint.get("state_dict", checkpoint)
    notes = getattr(given, "_metadata", {})
    state: OrderedDict[str, Tensor] = OrderedDict(
        (name.removeprefix("module."), value) for name, value in given.items() if isinstance(value, Tensor)
    )
    if student and any(name.startswith(PREFIX) for name in state):
        state = OrderedDict((n.removeprefix(PREFIX), v) for n, v in state.items() if n.startswith(PREFIX))
        notes = {n.removeprefix(PREFIX): note for n, note in notes.items() if f"{n}.".startswith(PREFIX)}
        if "student" in notes:
            notes[""] = notes.pop("student")
    state._metadata = OrderedDict(notes)  # type: ignore[attr-defined]
    return state


def load_state(model: nn.Module, source: str | Path, student: bool = False) -> dict[str, Any]:
    """Load a checkpoint's weights into `model`, every one or none; returns the checkpoint.

    Raises:
        CheckpointError: as `read_checkpoint`; names or shapes that do not fit, listed.
    """
    checkpoint = read_checkpoint(source)
    state = state_of(checkpoint, student)
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{source} does not fit {type(model).__name__}: {reason(error)}") from error
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]  # older than torch 0.4.1
    if missing or unexpected:
        parts = (("missing", missing), ("unexpected", unexpected))
        listed = "; ".join(f"{what} {', '.join(names[:5])} ({len(names)})" for what, names in parts if names)
        raise CheckpointError(f"{source} is a checkpoint of another model than this {type(model).__name__}: {listed}.")
    return checkpoint


def write_student(path: str | Path, state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Path:
    """A checkpoint of the bare student, as plain mmdet3d loads it (`init_model`, `load_from`, `test.py`).

    It holds tensors and plain data only, so `torch.load(path, weights_only=True)` reads it too.
    """
    plain: OrderedDict[str, Tensor] = OrderedDict((name, value.detach().cpu()) for name, value in state.items())
    plain._metadata = OrderedDict(getattr(state, "_metadata", {}))  # type: ignore[attr-defined]
    return atomic_torch_save({"meta": dict(meta), "state_dict": plain}, path)
