"""A trained student as files that need nothing of structkd: weights, a `torch.export` program, an ONNX model.

What is exported is the student's own forward pass: no projector, teacher or hook. Every file is read back and
compared with the original, on the example and on a single element, so that free sizes are shown to be free.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from structkd import __version__
from structkd.backends import version
from structkd.engine.exporters import FORMATS, Inputs, Outputs, Run, first_elements, free_sizes, named_outputs
from structkd.errors import ConfigError, DataError, nearest
from structkd.evaluation.efficiency import count_parameters
from structkd.files import atomic_write_json

#: Elements of the example that the exporters run on.
EXAMPLE_ELEMENTS = 256


def export_student(
    model: nn.Module,
    example: Sequence[Tensor],
    out_dir: str | Path,
    formats: Sequence[str] = tuple(FORMATS),
    *,
    kwargs: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
    tolerance: float = 1e-4,
) -> dict[str, Any]:
    """Write `model` in `formats` and `model_card.json` to `out_dir`; the model itself stays as it is.

    Args:
        model: the bare student; exported in eval mode, on the CPU.
        example: what to call it with. The first dimension of the first tensor counts elements and is free in the
            exported programs; a later integer [2, E] tensor is an edge list, whose E is free. Sparse features
            become dense.
        out_dir: folder; files of an earlier export are replaced, each at once.
        formats: any of "state_dict" (plain module keys, loads with `weights_only=True`), "export" (`torch.export`),
            "onnx" (checked in onnxruntime).
        kwargs: constructor arguments, for the model card; whether they rebuild the same model is tried.
        source: where the weights come from, for the model card.
        tolerance: largest accepted difference of an output, times max(1, largest output); float32 has about 1e-6.

    Returns:
        The model card. `card["formats"][name]["ok"]` tells whether that file gives the outputs of the original.

    Raises:
        ConfigError: unknown format, a missing package, or a model that cannot be traced.
        DataError: no example.
    """
    for name in formats:
        if name not in FORMATS:
            raise ConfigError(f"There is no export format '{name}'. {nearest(name, FORMATS)}")
    missing = [package for package in ("onnx", "onnxscript", "onnxruntime") if version(package) is None]
    if "onnx" in formats and missing:
        raise ConfigError(f"ONNX export needs {', '.join(missing)}: pip install 'structkd[onnx]', or leave onnx out.")
    if not example:
        raise DataError("A student is exported by running it on an example, and the example holds no tensor.")

    bare = _bare(model)
    inputs = first_elements(example, EXAMPLE_ELEMENTS)
    names = list(inspect.signature(bare.forward).parameters)[: len(inputs)]
    cases = [inputs, first_elements(inputs, 1)]
    with torch.no_grad():
        expected = [named_outputs(bare(*case)) for case in cases]
    out_dir, written = Path(out_dir), {}
    for name in formats:
        file, write = FORMATS[name]
        run = write(bare, inputs, names, list(expected[0]), out_dir / file)
        written[name] = _check(run, cases, expected, out_dir / file, tolerance)

    card = {
        "class": f"{type(bare).__module__}.{type(bare).__qualname__}",
        "kwargs": kwargs,
        "kwargs_rebuild_it": None if kwargs is None else _rebuilds(bare, kwargs, inputs, expected[0]),
        "parameters": count_parameters(bare),
        "weights": {key: list(value.shape) for key, value in bare.state_dict().items()},
        "inputs": {name: _shape(value, free) for name, value, free in zip(names, inputs, free_sizes(inputs))},
        "outputs": {name: _shape(value, free_sizes((inputs[0], value))[1]) for name, value in expected[0].items()},
        "formats": written,
        "tolerance": tolerance,
        "source": source,
        "versions": {
            "structkd": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "onnx", "onnxruntime")},
        },
    }
    atomic_write_json(out_dir / "model_card.json", card)
    return card


def recorded_kwargs(model: nn.Module, state: Mapping[str, Any]) -> dict[str, Any] | None:
    """The constructor arguments that a student file records: those of its config and what its data settled."""
    if "model" not in state:
        return None
    accepted = inspect.signature(type(model)).parameters
    facts = {key: value for key, value in state.get("facts", {}).items() if key in accepted}
    return {**facts, **{key: value for key, value in state["model"].items() if key != "type"}}


def _bare(model: nn.Module) -> nn.Module:
    bare = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    for module in bare.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return bare


def _check(run: Run, cases: list[Inputs], expected: list[Outputs], path: Path, tolerance: float) -> dict[str, Any]:
    difference = max(_difference(run(case), wanted) for case, wanted in zip(cases, expected))
    largest = max([1.0, *(float(value.abs().max()) for value in expected[0].values() if value.numel())])
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "max_abs_difference": difference,
        "ok": difference <= tolerance * largest,
    }


def _difference(got: Outputs, wanted: Outputs) -> float:
    """The largest absolute difference; infinite where names or shapes disagree, or NaNs appear."""
    if list(got) != list(wanted) or any(got[name].shape != wanted[name].shape for name in wanted):
        return float("inf")
    worst = 0.0
    for name, value in wanted.items():
        if value.numel() and not torch.equal(got[name], value):
            gap = float((got[name].double() - value.double()).abs().max())
            worst = max(worst, gap if gap == gap else float("inf"))
    return worst


def _rebuilds(model: nn.Module, kwargs: Mapping[str, Any], inputs: Inputs, expected: Outputs) -> bool:
    try:
        again = type(model)(**kwargs)
        again.load_state_dict(model.state_dict())
        with torch.no_grad():
            return _difference(named_outputs(again.eval()(*inputs)), expected) == 0
    except (TypeError, ValueError, RuntimeError):
        return False


def _shape(tensor: Tensor, free: Mapping[int, str]) -> dict[str, Any]:
    return {
        "shape": [free.get(dim, size) for dim, size in enumerate(tensor.shape)],
        "dtype": str(tensor.dtype).removeprefix("torch."),
    }
