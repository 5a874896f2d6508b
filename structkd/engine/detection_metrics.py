"""Metrics of 3D detection as the runner's evaluator calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from structkd.datasets import NuScenesFrames, to_kitti, to_nuscenes
from structkd.datasets.points.kitti_files import write_objects
from structkd.datasets.points.nuscenes_results import write_nuscenes_boxes
from structkd.engine.metrics import SplitMetric
from structkd.errors import DataError
from structkd.evaluation.kitti import DIFFICULTIES, KittiEvaluation, KittiObjects
from structkd.evaluation.nuscenes import NuScenesEvaluation

__all__ = ["KittiAP", "NuScenesAP"]


class KittiAP(SplitMetric):
    """KITTI's average precision of detected boxes; every figure from 0 to 1.

    `<split>/3d` and `<split>/bev`, which tables lead with, are AP40 at moderate difficulty and strict overlaps, the
    mean over the classes; `<split>/3d Car` and its like are the classes'. The others are named as in mmdet3d, for
    example `detail/Car_3D_AP40_moderate_strict`.

    Attributes:
        primary: name of the leading figure of a split.

    Args:
        frames: split -> frames with `annotations(index)` and `classes`.
        height_rule: "<" (official) or "<=", see `KittiEvaluation`.
    """

    primary = "3d"

    def __init__(self, frames: Mapping[str, Any], height_rule: Literal["<", "<="] = "<") -> None:
        super().__init__()
        for split, dataset in frames.items():
            if not hasattr(dataset, "annotations"):
                raise DataError(
                    f"KittiAP needs KITTI annotations, which the frames of '{split}' ({type(dataset).__name__}) do not "
                    "have; choose another data.metric."
                )
        self.frames: Mapping[str, Any] = frames
        self.height_rule: Literal["<", "<="] = height_rule

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        for sample in data_samples:
            frames, index = self.frames[sample["split"]], sample["index"]
            boxes, scores, labels = (sample[name].detach().cpu().numpy() for name in ("boxes", "scores", "labels"))
            calibration, size = frames.calibration(index), frames.image_size(index)
            found = to_kitti(boxes, scores, labels, frames.classes, calibration, size)
            self.results.append((sample["split"], index, found))

    def write(self, folder: Path) -> None:
        """KITTI's result files, one a test frame, as `tools/eval_kitti.py` and the benchmark's server take them."""
        folder.mkdir(parents=True, exist_ok=True)
        for split, index, found in self.results:
            if split == "test":
                write_objects(folder / f"{self.frames[split].frame_ids[index]}.txt", found)

    def compute_metrics(self, results: list[tuple[str, int, KittiObjects]]) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for split in dict.fromkeys(split for split, _, _ in results):
            frames = self.frames[split]
            labels = [frames.annotations(index) for name, index, _ in results if name == split]
            found = [objects for name, _, objects in results if name == split]
            evaluation = KittiEvaluation(labels, found, frames.classes, self.height_rule)
            metrics |= _kitti_figures(evaluation, split)
        return metrics


def _kitti_figures(evaluation: KittiEvaluation, split: str) -> dict[str, float]:
    detail: dict[str, float] = {}
    lead: dict[str, dict[str, float]] = {"3d": {}, "bev": {}}
    for overlaps in ("strict", "loose"):
        for name, metrics in evaluation.results(overlaps).items():
            for metric, averages in metrics.items():
                for kind, values in (averages or {}).items():
                    for difficulty, value in zip(DIFFICULTIES, values):
                        key = f"{name}_{metric.upper()}_{kind}_{difficulty.name}_{overlaps}"
                        detail[f"detail/{key}" if split == "test" else f"{split}/detail/{key}"] = value / 100
                if overlaps == "strict" and metric in lead:
                    lead[metric][name] = averages["AP40"][1] / 100
    figures = {f"{split}/{metric}": sum(values.values()) / len(values) for metric, values in lead.items()}
    for metric, values in lead.items():
        figures |= {f"{split}/{metric} {name}": value for name, value in values.items()}
    return figures | detail


class NuScenesAP(SplitMetric):
    """nuScenes' detection metric: `<split>/nds`, `<split>/map` and, of the five mean errors, `<split>/mATE` and so on.

    Average precisions of the classes are `detail/car_AP` and so on. Errors have their own units: metres, 1 - IoU,
    radians, metres a second, 1 - accuracy.

    Args:
        frames: split -> `NuScenesFrames`.
    """

    primary = "nds"

    def __init__(self, frames: Mapping[str, Any]) -> None:
        super().__init__()
        for split, dataset in frames.items():
            if not isinstance(dataset, NuScenesFrames):
                raise DataError(f"NuScenesAP evaluates NuScenesFrames; '{split}' is a {type(dataset).__name__}.")
        self.frames: Mapping[str, NuScenesFrames] = frames

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        for sample in data_samples:
            found = {name: sample[name].detach().cpu().numpy() for name in ("boxes", "scores", "labels")}
            self.results.append((sample["split"], sample["index"], found))

    def write(self, folder: Path) -> None:
        """A submission file, `results_nusc.json`."""
        write_nuscenes_boxes(folder / "results_nusc.json", self._boxes(self.results, "test"))

    def compute_metrics(self, results: list[tuple[str, int, dict[str, np.ndarray]]]) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for split in dict.fromkeys(split for split, _, _ in results):
            figures = NuScenesEvaluation(self.frames[split].labels(), self._boxes(results, split)).results()
            metrics |= {f"{split}/nds": figures["nd_score"], f"{split}/map": figures["mean_ap"]}
            metrics |= {f"{split}/m{SHORT[name]}": error for name, error in figures["tp_errors"].items()}
            detail = "detail" if split == "test" else f"{split}/detail"
            metrics |= {f"{detail}/{name}_AP": value for name, value in figures["mean_dist_aps"].items()}
        return metrics

    def _boxes(self, results: list[tuple[str, int, dict[str, np.ndarray]]], split: str) -> Any:
        found = {index: boxes for name, index, boxes in results if name == split}
        return to_nuscenes(self.frames[split], [found[index] for index in range(len(self.frames[split]))])


#: nuScenes' abbreviations of its errors.
SHORT = {"trans_err": "ATE", "scale_err": "ASE", "orient_err": "AOE", "vel_err": "AVE", "attr_err": "AAE"}
