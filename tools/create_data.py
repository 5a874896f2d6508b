"""Prepares data that are too large or too slow to prepare in training: once, before it.

python tools/create_data.py kitti data/kitti
python tools/create_data.py nuscenes data/nuscenes --version v1.0-mini
python tools/create_data.py simulate data/simulated_kitti --train 400 --val 100
python tools/create_data.py graph data/my_graph --edges data/my_graph/edge_index.npy

`kitti` adds to KITTI's official folders what mmdet3d 1.x's tool of the same name does, under the same names: scans
reduced to the camera's view, info files, and a database of objects for GT sampling. `simulate` makes labelled LiDAR
frames in KITTI's layout. `nuscenes` writes info files from the tables of the dataset. These leave alone what is there,
so an interrupted run is taken up where it stopped.

`graph` makes a folder that is trained from disk: to x.npy and y.npy it adds the edges sorted by target, in bounded
memory, and checks everything; see structkd.datasets.disk_graph for the files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def add_kitti(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("kitti", help="reduced scans, info files and a database of objects")
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder with training, testing and ImageSets")
    parser.add_argument("--splits", nargs="+", help="default: those with a file in ImageSets")
    parser.add_argument(
        "--database", default="train", metavar="SPLIT", help="split to cut objects from (default train)"
    )
    parser.set_defaults(run=kitti)


def kitti(args: argparse.Namespace) -> None:
    from structkd.datasets.points.prepare import splits_of, write_gt_database, write_infos, write_reduced
    from structkd.errors import DataError

    splits = args.splits or splits_of(args.root)
    if not splits:
        raise DataError(
            f"{args.root / 'ImageSets'} holds no split file; expected train.txt, val.txt, ... with a frame id a line. "
            "Or take every frame with --splits all --database all."
        )
    for split in splits:
        write_reduced(args.root, split)
        print(write_infos(args.root, split))
    if args.database in splits:
        print(write_gt_database(args.root, args.database))


def add_simulate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("simulate", help="simulated street scenes in KITTI's layout (needs open3d)")
    parser.add_argument(
        "root", type=Path, metavar="ROOT", help="the frames go into a sub-folder named after the parameters"
    )
    parser.add_argument("--train", type=int, default=400, metavar="N", help="frames to train on (default 400)")
    parser.add_argument("--val", type=int, default=100, metavar="N", help="frames to validate on (default 100)")
    parser.add_argument("--test", type=int, default=0, metavar="N", help="frames to test on (default 0)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default 0")
    parser.add_argument("--full", action="store_true", help="shoot all round, not only where the camera looks")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that share the work (default 0)")
    parser.add_argument("--statistics", action="store_true", help="compare the training frames with KITTI's")
    parser.set_defaults(run=simulate)


def simulate(args: argparse.Namespace) -> None:
    from structkd.datasets.points import KittiFrames, simulated_kitti
    from structkd.datasets.points.simulator import report, statistics

    folder = simulated_kitti(
        args.root, args.train, args.val, args.test, args.seed, full=args.full, num_workers=args.workers
    )
    print(folder)
    if args.statistics and args.train:
        print(report(statistics(KittiFrames(folder, "train"))))


def add_nuscenes(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("nuscenes", help="info files from the tables of the dataset")
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder with samples, sweeps and the tables")
    parser.add_argument("--version", default="v1.0-trainval", help="folder of the tables (default v1.0-trainval)")
    parser.add_argument("--splits", nargs="+", help="default: train and val, or test for v1.0-test")
    parser.set_defaults(run=nuscenes)


def nuscenes(args: argparse.Namespace) -> None:
    from structkd.datasets.points.nuscenes_infos import write_nuscenes_infos

    for path in write_nuscenes_infos(args.root, args.version, args.splits):
        print(path)


def add_graph(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("graph", help="a graph that is trained from disk (configs/graphs/out_of_core)")
    parser.add_argument("root", type=Path, metavar="FOLDER", help="with x.npy and y.npy")
    parser.add_argument("--edges", type=Path, metavar="FILE", help=".npy of [2, E] or [E, 2] ids: source, target")
    parser.add_argument("--directed", action="store_true", help="keep the directions (default: both of every edge)")
    parser.add_argument("--classes", type=int, metavar="K", help="default: the largest label and one")
    parser.add_argument(
        "--synthetic", metavar="SIZE", help="instead write a synthetic graph with all its files: arxiv or products"
    )
    parser.set_defaults(run=graph)


def graph(args: argparse.Namespace) -> None:
    from structkd.datasets import disk_graph, import_edges, write_synthetic_graph
    from structkd.datasets.graphs.synthetic import SIZES
    from structkd.errors import ConfigError, nearest

    if args.synthetic is not None and args.synthetic not in SIZES:
        raise ConfigError(f"--synthetic {args.synthetic}: there is no such size. {nearest(args.synthetic, SIZES)}")
    if args.synthetic is not None:
        write_synthetic_graph(args.root, **SIZES[args.synthetic])
    elif args.edges is not None:
        import_edges(args.root, args.edges, args.classes, undirected=not args.directed)
    disk = disk_graph(args.root)
    parts = disk.split
    counts = (
        "no split" if parts is None else ", ".join(f"{n} {len(getattr(parts, n))}" for n in ("train", "val", "test"))
    )
    print(
        f"{args.root}: {disk.num_nodes} nodes, {disk.csr.num_edges} directed edges, {disk.x.size(1)} features, "
        f"{disk.num_classes} classes; {counts}. All files are sound."
    )


#: Each adds one command.
COMMANDS = (add_kitti, add_nuscenes, add_simulate, add_graph)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    args = parser.parse_args(arguments)

    import torch

    from structkd.errors import StructkdError

    torch.set_num_threads(1)  # the work is many small steps
    try:
        args.run(args)
    except StructkdError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
