"""Export a trained student, bare: no teacher, projector or hook, and no structkd needed to run it.

    python tools/export.py CONFIG CHECKPOINT [--stage NAME] [--out DIR] [--formats state_dict export onnx]

Writes the weights (student.pt), a torch.export program (student.pt2), an ONNX model (student.onnx) and
model_card.json. Each file is read back and compared with the original; the exit status is 1 if one disagrees.

Of a config for mmdet3d's runner (configs/points/mmdet3d) it writes what plain mmdet3d loads: the student's checkpoint
(student.pth) and its config (student.py).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from structkd.engine import load_config, load_student
from structkd.engine.checkpoint import load
from structkd.engine.config import Options
from structkd.engine.export import export_student, recorded_kwargs
from structkd.engine.exporters import FORMATS
from structkd.engine.openmmlab import is_openmmlab, read_config
from structkd.errors import StructkdError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="the config that trained the student")
    parser.add_argument("checkpoint", type=Path, help="its checkpoint, such as WORK_DIR/seed_0/STAGE/student.pth")
    parser.add_argument("--stage", help="stage of the config (default: the one the checkpoint names)")
    parser.add_argument("--out", type=Path, help="folder to write to (default: export/ beside the checkpoint)")
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS), help="default: all")
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="accepted difference, relative to the largest output or 1"
    )
    parser.add_argument("--cfg-options", nargs="+", action=Options, default={}, help="override config keys: k.sub=v")
    options = parser.parse_args(arguments)
    out = options.out or options.checkpoint.parent / "export"
    try:
        if is_openmmlab(options.config):
            from structkd.engine.openmmlab.export import export_student as export_for_mmdet3d

            config = read_config(options.config, options.cfg_options)
            print("For plain mmdet3d:", *export_for_mmdet3d(config, options.checkpoint, out))
            return 0
        state = load(options.checkpoint)
        model, example = load_student(
            load_config(options.config, options.cfg_options), options.checkpoint, options.stage
        )
        card = export_student(
            model,
            example,
            out,
            options.formats,
            kwargs=recorded_kwargs(model, state),
            source={
                "config": Path(options.config).name,
                "checkpoint": options.checkpoint.name,
                "stage": options.stage or state.get("stage"),
                "seed": state.get("seed"),
            },
            tolerance=options.tolerance,
        )
    except StructkdError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(f"{card['class']}, {card['parameters']:,} parameters, to {out}")
    for name, entry in card["formats"].items():
        verdict = "agrees" if entry["ok"] else "DISAGREES with the original"
        print(f"  {name:<10}  {entry['file']:<12}  largest difference {entry['max_abs_difference']:.1e}: {verdict}")
    return 0 if all(entry["ok"] for entry in card["formats"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
