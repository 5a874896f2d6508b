"""Train every stage of a config, over several seeds, and print the table.

python tools/train.py configs/graphs/compare/gnn_to_mlp_digits.py --seeds 0 1 2
python tools/train.py CONFIG --resume                      # take up a killed run where it stopped
python tools/train.py CONFIG --cfg-options stages.ffg2m.train_cfg.max_epochs=50
torchrun --nproc-per-node 2 tools/train.py CONFIG --launcher pytorch
python tools/train.py configs/points/mmdet3d/pointpillars_to_pointpillars_16x_kitti.py   # by mmdet3d's own runner
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from structkd.engine import Switches, load_config, run_experiment
from structkd.engine.config import Options
from structkd.engine.openmmlab import is_openmmlab
from structkd.errors import StructkdError
from structkd.visualization.tables import summary_table


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file; of structkd or, for mmdet3d's models, of OpenMMLab's style")
    parser.add_argument("--work-dir", help="where everything is written (default: work_dirs/<config name>)")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds to run, one after another (default: the config's)")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        help="go on in the work dir: complete stages are skipped, a broken one goes on from its last checkpoint, "
        "or from the checkpoint given here",
    )
    parser.add_argument("--amp", action="store_true", help="bfloat16 mixed precision")
    parser.add_argument("--cfg-options", nargs="+", action=Options, default={}, help="override config keys: k.sub=v")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def train_by_mmdet3d(args: argparse.Namespace) -> int:
    """A config of OpenMMLab's style, with a `model` and no stages; several seeds go to folders of their own."""
    from structkd.engine.openmmlab.run import train_openmmlab

    seeds = args.seeds or [None]
    for seed in seeds:
        folder = args.work_dir
        if len(seeds) > 1:
            folder = str(Path(args.work_dir or Path("work_dirs") / Path(args.config).stem) / f"seed_{seed}")
        train_openmmlab(args.config, folder, args.resume, args.amp, args.cfg_options, args.launcher, seed)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse_args(arguments)
    try:
        if is_openmmlab(args.config):
            return train_by_mmdet3d(args)
        config = load_config(args.config, args.cfg_options)
        work_dir = Path(args.work_dir or config.get("work_dir") or Path("work_dirs") / Path(args.config).stem)
        switches = Switches(
            resume=args.resume is not None,
            resume_from=args.resume if args.resume not in (None, "auto") else None,
            amp=args.amp,
            launcher=args.launcher,
        )
        results = run_experiment(config, work_dir, args.seeds or config.get("seeds", [0]), switches)
    except StructkdError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    if int(os.environ.get("RANK", 0)) == 0:
        print("\n" + summary_table(results))
        folder = results["folder"]
        print(f"\nResults: {Path(folder) / 'results.json'}    Report: python tools/report.py {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
