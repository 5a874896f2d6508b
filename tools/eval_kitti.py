"""KITTI average precision of result files against label files.

python tools/eval_kitti.py data/kitti/training/label_2 results
python tools/eval_kitti.py data/kitti/training/label_2 results --json ap.json --classes Car --overlaps loose

The frames are those of the result files; a frame without detections has an empty file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read_frames(label_dir: Path, result_dir: Path) -> tuple[list[Any], list[Any]]:
    """Labels and detections of every frame that has a result file."""
    from structkd.datasets.points.kitti_files import read_labels, read_results
    from structkd.errors import DataError

    for folder in (label_dir, result_dir):
        if not folder.is_dir():
            raise DataError(f"There is no folder {folder}.")
    results = sorted(result_dir.glob("*.txt"))
    if not results:
        raise DataError(f"{result_dir} holds no result file; expected one a frame, such as 000042.txt.")
    unknown = [path.name for path in results if not (label_dir / path.name).is_file()]
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(results)} result files in {result_dir} are of frames without labels in "
            f"{label_dir}: {', '.join(unknown[:5])}{', ...' if len(unknown) > 5 else ''}."
        )
    return [read_labels(label_dir / path.name) for path in results], [read_results(path) for path in results]


def table(results: dict[str, Any], num_objects: dict[str, list[int]]) -> str:
    """The results as text: a line for each class and metric, easy, moderate and hard side by side."""
    lines = [
        f"{'':20}{'AP40':>8}{'':16}{'AP11':>10}",
        f"{'':20}{'easy':>8}{'mod.':>8}{'hard':>8}{'easy':>10}{'mod.':>8}{'hard':>8}",
    ]
    for name, metrics in results.items():
        lines.append(f"{name:12}{'objects':8}" + "".join(f"{count:8d}" for count in num_objects[name]))
        for metric, found in metrics.items():
            figures = "not given: a detection has no alpha"
            if found is not None:
                figures = "  ".join("".join(f"{value:8.2f}" for value in found[points]) for points in ("AP40", "AP11"))
            lines.append(f"{'':12}{metric:8}{figures}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    from structkd.evaluation.kitti import CATEGORIES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, metavar="GT_DIR", help="folder with the labels, such as training/label_2")
    parser.add_argument("results", type=Path, metavar="RESULT_DIR", help="folder with a result file for each frame")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the averages to this file, in percent")
    parser.add_argument("--classes", nargs="+", default=list(CATEGORIES), help="default: all three")
    parser.add_argument(
        "--height-rule",
        choices=("<", "<="),
        default="<",
        help="objects that do not count are lower than the least height (<, official), or not higher (<=, as mmdet3d)",
    )
    parser.add_argument("--overlaps", choices=("strict", "loose"), default="strict", help="what makes a match")
    args = parser.parse_args(arguments)

    import torch

    from structkd.errors import StructkdError
    from structkd.evaluation.kitti import KittiEvaluation

    torch.set_num_threads(1)  # the work is many small steps
    try:
        labels, detections = read_frames(args.labels, args.results)
        evaluation = KittiEvaluation(labels, detections, args.classes, args.height_rule)
        results = evaluation.results(args.overlaps)
    except StructkdError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(f"{len(labels)} frames, {args.overlaps} overlaps, height rule {args.height_rule}")
    print(table(results, evaluation.num_objects()))
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
