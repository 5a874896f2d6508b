"""Evaluate a checkpoint on the test data of its config.

python tools/test.py CONFIG work_dirs/NAME/seed_0/ffg2m/student.pth
python tools/test.py mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py THEIRS.pth
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from structkd.engine import load_config, test_student
from structkd.engine.config import Options
from structkd.engine.openmmlab import is_openmmlab
from structkd.errors import ConfigError, StructkdError
from structkd.files import atomic_write_json


def test_by_mmdet3d(args: argparse.Namespace) -> int:
    """A config of OpenMMLab's style, with a `model` and no stages: metrics go by their names there."""
    from structkd.engine.openmmlab.run import test_openmmlab

    if args.stage is not None or args.seed is not None:
        raise ConfigError(
            "--stage and --seed go with configs of stages; an mmdet3d config has one model and no stages."
        )
    options = args.cfg_options
    metrics = test_openmmlab(args.config, args.checkpoint, args.work_dir, options, args.launcher, args.out)
    if args.json and int(os.environ.get("RANK", 0)) == 0:
        atomic_write_json(args.json, {"config": args.config, "checkpoint": args.checkpoint, "metrics": metrics})
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file; of structkd or, for mmdet3d's models, of OpenMMLab's style")
    parser.add_argument("checkpoint", help="student.pth or last.pth of a stage; any checkpoint of an mmdet3d model")
    parser.add_argument("--stage", help="stage the checkpoint belongs to (default: what the file says)")
    parser.add_argument("--seed", type=int, help="seed of the split (default: what the file says)")
    parser.add_argument("--cfg-options", nargs="+", action=Options, default={})
    parser.add_argument("--out", help="also write the predictions into this folder (detectors: KITTI's result files)")
    parser.add_argument("--json", help="also write the result to this file")
    parser.add_argument("--work-dir", help="mmdet3d's models: where the log is written (default: work_dirs/CONFIG)")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    try:
        if is_openmmlab(args.config):
            return test_by_mmdet3d(args)
        config = load_config(args.config, args.cfg_options)
        result = test_student(config, args.checkpoint, args.stage, args.seed, args.out)
    except StructkdError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    for name, value in result["metrics"].items():
        if "detail/" not in name:
            print(f"{result['stage']}  {name}  {100 * value:.2f}")
    if args.json:
        atomic_write_json(args.json, result)
    else:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
