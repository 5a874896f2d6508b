"""nuScenes' detection metric (mAP, true positive errors, NDS) of a submission.

python tools/eval_nuscenes.py labels.json results.json --json metrics.json
python tools/eval_nuscenes.py results.json --dataroot data/nuscenes --version v1.0-mini --split val

Labels come from a file in the format of a submission with further entries (see
structkd/datasets/points/nuscenes_results.py), or from the tables of the dataset.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ERRORS = {"trans_err": "ATE", "scale_err": "ASE", "orient_err": "AOE", "vel_err": "AVE", "attr_err": "AAE"}


def table(results: dict[str, Any], num_objects: dict[str, int]) -> str:
    """The results as text: a line a class, then the means."""
    lines = [f"{'':22}{'objects':>9}{'AP':>8}" + "".join(f"{short:>8}" for short in ERRORS.values())]
    for name, errors in results["label_tp_errors"].items():
        cells = "".join(f"{'-':>8}" if errors[key] is None else f"{errors[key]:8.3f}" for key in ERRORS)
        lines.append(f"{name:22}{num_objects[name]:9d}{results['mean_dist_aps'][name]:8.3f}{cells}")
    means = "".join(f"{results['tp_errors'][key]:8.3f}" for key in ERRORS)
    lines.append(f"{'mean':22}{sum(num_objects.values()):9d}{results['mean_ap']:8.3f}{means}")
    return "\n".join([*lines, "", f"mAP {results['mean_ap']:.4f}   NDS {results['nd_score']:.4f}"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="[GT.json] RESULT.json", help="labels and submission")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--dataroot", type=Path, metavar="ROOT", help="folder with nuScenes' tables: no GT.json then")
    parser.add_argument("--version", default="v1.0-trainval", help="folder of the tables (default v1.0-trainval)")
    parser.add_argument("--split", default="val", help="samples of the tables to evaluate (default val)")
    args = parser.parse_args(arguments)
    if len(args.files) != (2 if args.dataroot is None else 1):
        parser.error("expected GT.json RESULT.json, or RESULT.json with --dataroot")

    import torch

    from structkd.datasets.points.nuscenes_labels import table_labels
    from structkd.datasets.points.nuscenes_results import read_nuscenes_labels, read_nuscenes_results
    from structkd.datasets.points.nuscenes_tables import NuScenesTables
    from structkd.errors import StructkdError
    from structkd.evaluation.nuscenes import NuScenesEvaluation

    torch.set_num_threads(1)  # the work is many small steps
    try:
        if args.dataroot is None:
            labels = read_nuscenes_labels(args.files[0])
        else:
            tables = NuScenesTables(args.dataroot, args.version)
            labels = table_labels(tables, tables.samples(args.split))
        evaluation = NuScenesEvaluation(labels, read_nuscenes_results(args.files[-1]))
        results = evaluation.results()
    except StructkdError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(f"{len(labels.samples)} samples")
    if labels.ego is None:
        print("The labels do not tell where the vehicle is: boxes beyond the range of their class count as well.")
    print(table(results, evaluation.num_objects()))
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
