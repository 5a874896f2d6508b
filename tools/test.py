"""Evaluate a checkpoint on the test data of its config.

python tools/test.py CONFIG work_dirs/NAME/seed_0/ffg2m/student.pth
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from structkd.engine import load_config, test_student
from structkd.engine.config import Options
from structkd.errors import StructkdError
from structkd.files import atomic_write_json


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("checkpoint", help="student.pth or last.pth of a stage")
    parser.add_argument("--stage", help="stage the checkpoint belongs to (default: what the file says)")
    parser.add_argument("--seed", type=int, help="seed of the split (default: what the file says)")
    parser.add_argument("--cfg-options", nargs="+", action=Options, default={})
    parser.add_argument("--out", help="also write the predictions into this folder (detectors: KITTI's result files)")
    parser.add_argument("--json", help="also write the result to this file")
    args = parser.parse_args(arguments)
    try:
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
