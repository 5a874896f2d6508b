"""Pictures of point clouds, labels and detections, of how good the detections are, of tokens and of experts.

python tools/visualize.py kitti data/kitti --frames 000008 000042 --out pictures
python tools/visualize.py kitti data/kitti --results teacher=results/teacher student=results/student --out pictures
python tools/visualize.py nuscenes data/nuscenes --infos nuscenes_infos_val.pkl --results results.json --out pictures
python tools/visualize.py run CONFIG WORK_DIR --stages teacher plain point_distiller --out pictures
python tools/visualize.py tokens CONFIG WORK_DIR --stages teacher plain trg --out pictures
python tools/visualize.py curves data/kitti/training/label_2 teacher=results/teacher --out pictures
python tools/visualize.py experts CONFIG WORK_DIR --stage vmoe --out pictures

Each frame is drawn from above, in the camera's picture (where there is one) and in perspective, with a panel for each
detector. `run` draws what the trained stages of a run find in test frames, and which pillars carry PointDistiller's
weight; `tokens` draws whom the tokens of two test images are most like to each stage; `curves` draws precision over
recall and average precision by class. `experts` draws which expert takes each patch of test images, and the experts'
loads in training where the stage had a RoutingHook.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config


def add_frame_options(parser: argparse.ArgumentParser) -> None:
    """What every command that draws frames takes."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    parser.add_argument("--frames", nargs="+", metavar="ID", help="which frames (default: the first five)")
    parser.add_argument("--classes", nargs="+", help="default: all of the dataset's")
    parser.add_argument("--views", nargs="+", default=["bev", "image", "3d"], help="bev, image, 3d (default: all)")
    parser.add_argument("--min-score", type=float, default=0.3, metavar="S", help="least score drawn (default 0.3)")
    parser.add_argument(
        "--renderer", choices=("auto", "open3d", "matplotlib"), default="auto", help="of 3d: open3d if it can, or else"
    )


def add_kitti(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("kitti", help="frames in KITTI's layout, with result files")
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder with training, or with velodyne, calib, ...")
    parser.add_argument("--split", default="all", help="file of ImageSets, or all (default)")
    parser.add_argument("--results", nargs="+", default=[], metavar="[NAME=]DIR", help="folders of result files")
    add_frame_options(parser)
    parser.set_defaults(run=kitti)


def kitti(args: argparse.Namespace) -> None:
    from structkd.datasets.points import KittiFrames
    from structkd.datasets.points.kitti import CLASSES
    from structkd.datasets.points.kitti_files import read_results
    from structkd.visualization.frames import kitti_boxes, plot_frame

    frames = KittiFrames(args.root, args.split, args.classes or CLASSES)
    results = named_paths(args.results, folder=True)
    for index in chosen(args.frames, frames.frame_ids):
        frame, panels = frames[index], []
        for name, folder in results.items():
            path = folder / f"{frame.frame_id}.txt"
            panels.append(kitti_boxes(name, read_results(path), frame.calibration, frames.classes, args.min_score))
        images = [frames.folder / "image_2" / f"{frame.frame_id}{suffix}" for suffix in (".png", ".jpg", ".jpeg")]
        image = next((path for path in images if path.is_file()), None)
        paths = plot_frame(args.out, frame, panels, frames.classes, args.views, image, args.renderer)
        print(*paths, sep="\n", flush=True)


def add_nuscenes(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("nuscenes", help="frames of a nuScenes info file, with submissions")
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder with samples and sweeps")
    parser.add_argument("--infos", type=Path, required=True, metavar="FILE", help="such as nuscenes_infos_val.pkl")
    parser.add_argument("--sweeps", type=int, default=10, metavar="N", help="scans merged into a frame (default 10)")
    parser.add_argument("--results", nargs="+", default=[], metavar="[NAME=]FILE", help="submissions")
    add_frame_options(parser)
    parser.set_defaults(run=nuscenes)


def nuscenes(args: argparse.Namespace) -> None:
    from structkd.datasets.points import NuScenesFrames
    from structkd.datasets.points.nuscenes_results import read_nuscenes_results
    from structkd.evaluation.nuscenes import CLASSES
    from structkd.visualization.frames import nuscenes_boxes, plot_frame

    frames = NuScenesFrames(args.root, args.infos, args.sweeps, args.classes or CLASSES)
    paths = named_paths(args.results, folder=False)
    results = {name: read_nuscenes_results(path) for name, path in paths.items()}
    for index in chosen(args.frames, [info.token for info in frames.infos]):
        panels = [nuscenes_boxes(name, found, frames, index, args.min_score) for name, found in results.items()]
        views = [view for view in args.views if view != "image"]
        drawn = plot_frame(args.out, frames[index], panels, frames.classes, views, renderer=args.renderer, ahead="y")
        print(*drawn, sep="\n", flush=True)


def add_run(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("run", help="what the trained stages of a run find in test frames")
    parser.add_argument("config", metavar="CONFIG", help="the config that was run")
    parser.add_argument("work_dir", type=Path, metavar="WORK_DIR", help="where it was run")
    parser.add_argument("--stages", nargs="+", help="default: all")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--frames", nargs="+", metavar="ID", help="which test frames (default: the first three)")
    parser.add_argument("--views", nargs="+", default=["bev"], help="bev (default), image, 3d")
    parser.add_argument("--min-score", type=float, default=0.3, metavar="S", help="least score drawn (default 0.3)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    parser.add_argument("--cfg-options", nargs="+", default=[], help="override config keys: k.sub=v")
    parser.set_defaults(run=trained_run)


def trained_run(args: argparse.Namespace) -> None:
    from structkd.engine.pictures import draw_detections

    drawn = draw_detections(
        run_config(args), args.work_dir, args.out, args.stages, args.seed, args.frames, args.views, args.min_score
    )
    print(*drawn, sep="\n")


def run_config(args: argparse.Namespace) -> Config:
    """The config that a command names, with its `--cfg-options`."""
    from structkd.engine import load_config
    from structkd.engine.config import Options

    # Parsed here, so that the other commands run without mmengine.
    parser = argparse.ArgumentParser(prog="visualize.py")
    parser.add_argument("--cfg-options", nargs="+", action=Options, default={})
    given = ["--cfg-options", *args.cfg_options] if args.cfg_options else []
    return load_config(args.config, parser.parse_args(given).cfg_options)


def add_tokens(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("tokens", help="whom tokens of images are most like, to the trained stages of a run")
    parser.add_argument("config", metavar="CONFIG", help="the config that was run, on images")
    parser.add_argument("work_dir", type=Path, metavar="WORK_DIR", help="where it was run")
    parser.add_argument("--stages", nargs="+", help="the teacher first (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--images", type=int, nargs="+", metavar="N", help="test images (default: two of one class)")
    parser.add_argument("--field", default="tokens", help="map that the adapters give (default tokens)")
    parser.add_argument("--k", type=int, default=6, help="relations of each token (default 6)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the picture")
    parser.add_argument("--cfg-options", nargs="+", default=[], help="override config keys: k.sub=v")
    parser.set_defaults(run=tokens)


def tokens(args: argparse.Namespace) -> None:
    from structkd.engine.token_pictures import draw_tokens

    where = (args.work_dir, args.out, args.stages, args.seed)
    print(draw_tokens(run_config(args), *where, args.images, args.field, args.k))


def add_curves(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("curves", help="precision over recall and average precision of KITTI result files")
    parser.add_argument("labels", type=Path, metavar="GT_DIR", help="folder with the labels")
    parser.add_argument("results", nargs="+", metavar="[NAME=]DIR", help="folders of result files, all of one split")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    parser.add_argument("--metric", choices=("2d", "bev", "3d"), default="3d", help="default 3d")
    parser.add_argument("--level", choices=("easy", "moderate", "hard"), default="moderate", help="default moderate")
    parser.set_defaults(run=curves)


def curves(args: argparse.Namespace) -> None:
    from structkd.datasets.points.kitti_files import read_labels, read_results
    from structkd.errors import DataError
    from structkd.evaluation.kitti import CATEGORIES, KittiEvaluation
    from structkd.visualization.detection_curves import plot_average_precision, plot_precision_recall

    found, scores = {}, {}
    for name, folder in named_paths(args.results, folder=True).items():
        files = sorted(folder.glob("*.txt"))
        if not files:
            raise DataError(f"{folder} holds no result file; expected one a frame, such as 000042.txt.")
        labels = [read_labels(args.labels / path.name) for path in files]
        evaluation = KittiEvaluation(labels, [read_results(path) for path in files])
        found[name] = {
            category.name: evaluation.curve(category.name, args.level, args.metric, category.strict[args.metric])
            for category in CATEGORIES.values()
        }
        scores[name] = evaluation.results()
    title = f"{args.metric.upper()}, {args.level}"
    print(plot_precision_recall(args.out / f"precision_recall_{args.metric}_{args.level}.png", found, title))
    path = args.out / f"average_precision_{args.metric}_{args.level}.png"
    print(plot_average_precision(path, scores, args.metric, args.level))


def add_experts(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("experts", help="which expert of a trained network takes each patch of test images")
    parser.add_argument("config", metavar="CONFIG", help="the config that was run")
    parser.add_argument("work_dir", type=Path, metavar="WORK_DIR", help="where it was run")
    parser.add_argument("--stage", required=True, help="whose model has routers")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--images", type=int, default=8, metavar="N", help="how many test images (default 8)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    parser.add_argument("--cfg-options", nargs="+", default=[], help="override config keys: k.sub=v")
    parser.set_defaults(run=experts)


def experts(args: argparse.Namespace) -> None:
    from structkd.engine.expert_pictures import draw_experts

    config = run_config(args)
    print(*draw_experts(config, args.work_dir, args.out, args.stage, args.seed, args.images), sep="\n")


def named_paths(arguments: Sequence[str], folder: bool) -> dict[str, Path]:
    """NAME=PATH or PATH, which is then named after itself; all must be there and have different names."""
    from structkd.errors import ConfigError, DataError

    paths: dict[str, Path] = {}
    for argument in arguments:
        name, sign, rest = argument.partition("=")
        path = Path(rest if sign else argument)
        name = name if sign else path.name if folder else path.stem
        if name in paths:
            raise ConfigError(f"Two results are called {name!r}; name them, such as teacher={path}.")
        if not (path.is_dir() if folder else path.is_file()):
            raise DataError(f"There is no {'folder' if folder else 'file'} {path}.")
        paths[name] = path
    return paths


def chosen(wanted: Sequence[str] | None, there: Sequence[str], default: int = 5) -> list[int]:
    """Indices of the frames asked for, or of the first few."""
    from structkd.errors import DataError, nearest

    if wanted is None:
        return list(range(min(default, len(there))))
    number = {name: index for index, name in enumerate(there)}
    for name in wanted:
        if name not in number:
            raise DataError(f"There is no frame {name!r} among {len(there)}. {nearest(name, there)}")
    return [number[name] for name in wanted]


#: Each adds one command.
COMMANDS = (add_kitti, add_nuscenes, add_run, add_tokens, add_curves, add_experts)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    args = parser.parse_args(arguments)

    from structkd.errors import StructkdError

    try:
        args.run(args)
    except StructkdError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
