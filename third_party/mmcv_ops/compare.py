"""The same inputs through these operators and through a compiled mmcv, and the same weights through both.

In an environment where a compiled mmcv 2.1.0 can be imported (and mmdet3d, for the models):

python -m mmcv_ops.compare --json compare.json
python -m mmcv_ops.compare --device cuda --models pointpillars/... second/... --points frame.bin --json compare.json

Models are configs of mmdet3d, as they lie in its folder `configs`. One process detects with these operators and writes
its weights (random, seeded, unless --checkpoint is given); another loads them into mmdet3d as it is, on the compiled
mmcv. All boxes count: the score threshold is 0. On the CPU most of mmcv's operators have no kernel; the report names
them. A compiled mmcv has no sparse convolution there either: mmdet3d then needs spconv, which is right with one thread.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcv_ops.compare_cases import CASES, THROUGH_MODELS
from mmcv_ops.registry import OPERATORS
from structkd.backends import version
from structkd.files import atomic_write_json

#: Boxes of a class that reach suppression.
NMS_PRE = 500
#: Largest logit, box code and direction logit that an untrained head is scaled to, so that scores tell boxes apart.
HEAD = {"conv_cls": 6.0, "conv_reg": 0.5, "conv_dir_cls": 1.0}
#: Boxes (metres, radians) and scores that differ by less are the same: rounding, summed over the layers.
SAME = 1e-3


def compare_operator(name: str, compiled: Any, device: str, seed: int = 0) -> dict[str, Any]:
    """Largest difference of all that the operator returns and fills, and the milliseconds of both."""
    if name in THROUGH_MODELS:
        return {"status": "through models", "reason": THROUGH_MODELS[name]}
    args, kwargs = CASES[name](torch.Generator().manual_seed(seed))
    args = _to(args, device)
    ours, our_ms = _timed(OPERATORS[name].run, args, kwargs)
    try:
        theirs, their_ms = _timed(getattr(compiled, name), args, kwargs)
    except (RuntimeError, TypeError, AttributeError, AssertionError) as error:
        return {"status": "not run", "reason": str(error).strip().splitlines()[0][:200]}
    pairs = list(zip(_tensors(ours), _tensors(theirs)))
    same = len(_tensors(ours)) == len(_tensors(theirs)) and all(a.shape == b.shape for a, b in pairs)
    largest = max((_difference(a, b) for a, b in pairs), default=0.0) if same else None
    status = "other shapes" if largest is None else "identical" if largest == 0 else "close"
    return {"status": status, "largest_difference": largest, "ms": our_ms, "compiled_ms": their_ms}


def _timed(run: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, float]:
    args = copy.deepcopy(args)
    start = time.perf_counter()
    returned = run(*args, **kwargs)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (returned, args), round(1000 * (time.perf_counter() - start), 2)


def _to(value: Any, device: str) -> Any:
    return tuple(item.to(device) if isinstance(item, Tensor) else item for item in value)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value.detach().cpu()]
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(item, int) for item in value):
            return [torch.tensor(value)]
        return [tensor for item in value for tensor in _tensors(item)]
    return []


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().nan_to_num(0).max()) if a.numel() else 0.0


def detect(config: str, operators: str, files: Sequence[str], weights: Path, out: Path, device: str) -> None:
    """Detections of a config's model on each scene, into `out`; writes or reads `weights`."""
    if operators == "ours":
        import mmcv_ops

        mmcv_ops.install(force=True)
    import mmdet3d
    from mmdet3d.registry import MODELS
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
    from mmdet3d.utils import register_all_modules
    from mmengine.config import Config
    from mmengine.runner import load_checkpoint

    register_all_modules(init_default_scope=True)
    root = Path(mmdet3d.__file__).parent / ".mim" / "configs"
    settings = Config.fromfile(str(root / config))
    settings.model.test_cfg.update(score_thr=0.0, nms_pre=NMS_PRE)
    torch.manual_seed(0)
    model = MODELS.build(settings.model)
    if weights.exists():
        load_checkpoint(model, str(weights), map_location="cpu", strict=True)
    else:
        _liven(model.to(device), _scenes(files)[0].to(device))
        torch.save({"state_dict": model.state_dict(), "meta": {}}, weights)
    model = model.to(device).eval()
    found = []
    for points in _scenes(files):
        sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes, box_mode_3d=0))

        def run(mode: str, points: Tensor = points, sample: Any = sample) -> Any:
            # Prepared anew each time: PointPillars writes into its input.
            batch = {"inputs": {"points": [points.to(device)]}, "data_samples": [sample]}
            with torch.no_grad():
                return model(**model.data_preprocessor(batch, False), mode=mode)

        maps = [part.float().cpu() for level in run("tensor") for part in level]
        result = run("predict")[0].pred_instances_3d
        boxes = result.bboxes_3d.tensor.cpu()
        found.append({"boxes": boxes, "scores": result.scores_3d.cpu(), "labels": result.labels_3d.cpu(), "maps": maps})
    torch.save(found, out)


def _liven(model: Any, points: Tensor) -> None:
    """Give an untrained model features of unit size: otherwise they fade from layer to layer, and all boxes tie."""
    norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    kept = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 1.0
    data = model.data_preprocessor({"inputs": {"points": [points]}, "data_samples": []}, False)
    with torch.no_grad():
        outputs = model.train()(**{**data, "data_samples": None}, mode="tensor")
        for (name, largest), maps in zip(HEAD.items(), outputs):
            layer = getattr(model.bbox_head, name)
            # The many cells without points, which all give the median, at 0, and the far side of the others above it.
            values = maps[0].flatten(2).transpose(0, 1).flatten(1)
            middle = values.median(1).values
            above, below = values.amax(1) - middle, middle - values.amin(1)
            scale = largest / torch.maximum(above, below) * torch.where(above >= below, 1, -1)
            layer.weight.mul_(scale.view(-1, 1, 1, 1))
            layer.bias.copy_((layer.bias - middle) * scale)
    for norm, momentum in zip(norms, kept):
        norm.momentum = momentum


def _scenes(files: Sequence[str]) -> list[Tensor]:
    """Clouds [P, 4] of KITTI's .bin files, or one of random points."""
    if files:
        import numpy as np

        return [torch.from_numpy(np.fromfile(file, np.float32).reshape(-1, 4)) for file in files]
    generator = torch.Generator().manual_seed(0)
    scale, low = torch.tensor([69.0, 79, 3.9, 1]), torch.tensor([0, -39.5, -2.95, 0])
    return [torch.rand(20000, 4, generator=generator) * scale + low]


def compare_model(config: str, files: Sequence[str], checkpoint: str | None, device: str) -> dict[str, Any]:
    """How the detections of both ways differ, in processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(checkpoint) if checkpoint else Path(folder, "weights.pth")
        found = {}
        for operators in ("ours", "compiled"):
            out = Path(folder, f"{operators}.pth")
            command = [sys.executable, "-m", "mmcv_ops.compare", "--device", device, "--detect", config]
            command += ["--operators", operators, "--weights", str(weights), "--out", str(out), "--points", *files]
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
            if done.returncode:
                return {"status": "not run", "reason": f"{operators}: {done.stderr.strip().splitlines()[-1][:300]}"}
            found[operators] = torch.load(out, weights_only=True)
    scenes = list(zip(found["ours"], found["compiled"]))
    report: dict[str, Any] = {"boxes": [len(a["scores"]) for a, _ in scenes], "scenes": [Path(f).name for f in files]}
    report["largest_output_of_the_head"] = max(float(x.abs().max()) for a, _ in scenes for x in a["maps"])
    report["spread_of_the_head"] = max(float(x.std((2, 3)).max()) for a, _ in scenes for x in a["maps"])
    report["distinct_scores"] = [int(a["scores"].unique().numel()) for a, _ in scenes]
    report["largest_difference_head"] = max(_difference(x, y) for a, b in scenes for x, y in zip(a["maps"], b["maps"]))
    if any(len(a["scores"]) != len(b["scores"]) for a, b in scenes):
        return {**report, "status": "other numbers of boxes", "compiled": [len(b["scores"]) for _, b in scenes]}
    report["same_labels"] = all(torch.equal(a["labels"], b["labels"]) for a, b in scenes)
    for field in ("boxes", "scores"):
        report[f"largest_difference_{field}"] = max(_difference(a[field], b[field]) for a, b in scenes)
    near = all(report[f"largest_difference_{field}"] < SAME for field in ("boxes", "scores"))
    return {**report, "status": "the same detections" if near and report["same_labels"] else "other detections"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", nargs="*", default=[], metavar="CONFIG", help="configs of mmdet3d")
    parser.add_argument("--only-models", action="store_true", help="leave the operators out")
    parser.add_argument("--points", nargs="*", default=[], metavar="FILE", help="KITTI's .bin files to detect in")
    parser.add_argument("--checkpoint", help="weights for the models, instead of random ones")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to this file")
    for name in ("detect", "operators", "weights", "out"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.detect:
        detect(args.detect, args.operators, args.points, Path(args.weights), Path(args.out), args.device)
        sys.stdout.flush()
        os._exit(0)  # all is written, and spconv's library has been seen to spin while the interpreter ends
    try:
        import mmcv._ext as compiled
    except ImportError as error:
        print(f"No compiled mmcv can be imported here ({error}); nothing to compare with.", file=sys.stderr)
        return 2
    names = [] if args.only_models else sorted(CASES.keys() | THROUGH_MODELS)
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if args.device == "cuda" else platform.processor() or "cpu",
        "versions": {name: version(name) for name in ("torch", "mmcv", "mmdet3d", "spconv", "numpy")},
        "operators": {name: compare_operator(name, compiled, args.device) for name in names},
        "models": {name: compare_model(name, args.points, args.checkpoint, args.device) for name in args.models},
    }
    print(json.dumps(report, indent=2))
    if args.json:
        atomic_write_json(args.json, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
