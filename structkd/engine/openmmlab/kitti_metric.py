"""KITTI's average precision as a metric of mmdet3d's runner, on any device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from structkd.datasets.points.kitti_files import write_objects
from structkd.datasets.points.kitti_infos import read_kitti_infos
from structkd.datasets.points.kitti_results import to_kitti
from structkd.errors import ConfigError, DataError
from structkd.evaluation.kitti import DIFFICULTIES, KittiEvaluation

#: mmdet3d's default: what it evaluates boxes in, metres.
RANGE = (0.0, -40.0, -3.0, 70.4, 40.0, 0.0)
#: What mmdet3d calls the three metrics.
NAMES = {"2d": "2D", "bev": "BEV", "3d": "3D"}


class KittiMetric(BaseMetric):
    """Takes the arguments of mmdet3d's KittiMetric and gives its figures under its names, without numba or a GPU.

    Average precision in percent, as `Kitti metric/pred_instances_3d/KITTI/Car_3D_AP40_moderate_strict`, and the means
    over the classes as `.../Overall_3D_AP40_moderate`; see `structkd.evaluation.kitti.KittiEvaluation`.

    Args:
        ann_file: info file of mmdet3d 1.x with the labels (`kitti_infos_val.pkl`).
        metric: "bbox"; mmdet3d's others are for image detectors.
        pcd_limit_range: x0, y0, z0, x1, y1, z1: boxes whose bottom centre is outside are not evaluated. The default is
            mmdet3d's, whose upper z leaves out what stands above the sensor.
        prefix: of the figures' names, in place of "Kitti metric".
        format_only: write results, evaluate nothing; needs `submission_prefix`.
        submission_prefix: folder for KITTI's result files.
        default_cam_key, collect_device: as in mmdet3d; the camera is CAM2.
        pklfile_prefix, backend_args: accepted for its configs' sake. Results are written as KITTI's files only, labels
            are read from a file.

    Raises:
        ConfigError: another metric or camera. DataError: labels that cannot be read, detections of unknown frames.

    Differences: labels and detections are compared in double precision and detections are not rounded; the part of a
    box behind the camera is cut off before it is outlined (see `to_kitti`). "<=" for heights, as there. mmdet3d gives
    AP11 and AP40; figures are called alike.
    """

    default_prefix = "Kitti metric"

    def __init__(
        self,
        ann_file: str,
        metric: str | Sequence[str] = "bbox",
        pcd_limit_range: Sequence[float] = RANGE,
        prefix: str | None = None,
        pklfile_prefix: str | None = None,
        default_cam_key: str = "CAM2",
        format_only: bool = False,
        submission_prefix: str | None = None,
        collect_device: str = "cpu",
        backend_args: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if [metric] != ["bbox"] and list(metric) != ["bbox"]:
            raise ConfigError(
                f"KittiMetric(metric={metric!r}): only 'bbox' is for LiDAR; mmdet3d.KittiMetric has more."
            )
        if default_cam_key != "CAM2":
            raise ConfigError(f"KittiMetric(default_cam_key={default_cam_key!r}): KITTI is evaluated in CAM2.")
        if format_only and submission_prefix is None:
            raise ConfigError("KittiMetric(format_only=True) needs submission_prefix, the folder to write results to.")
        self.ann_file, self.pcd_limit_range = ann_file, tuple(pcd_limit_range)
        self.format_only, self.submission_prefix = format_only, submission_prefix

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        for sample in data_samples:
            found = sample["pred_instances_3d"]
            boxes, scores, labels = found["bboxes_3d"].tensor[:, :7], found["scores_3d"], found["labels_3d"]
            arrays = [value.detach().cpu().numpy() for value in (boxes.float(), scores.float(), labels)]
            self.results.append((int(sample["sample_idx"]), Path(sample.get("lidar_path", "")).stem, *arrays))

    def compute_metrics(self, results: list[tuple[Any, ...]]) -> dict[str, float]:
        infos = read_kitti_infos(self.ann_file)
        frames = {info.frame_id: info for info in infos}
        classes = tuple(self.dataset_meta["classes"])  # type: ignore[index]
        labels, found = [], []
        for index, name, boxes, scores, kinds in results:
            # A part of a dataset counts from 0 again, so the scan's name goes first.
            if name not in frames and not 0 <= index < len(infos):
                raise DataError(f"{self.ann_file} has {len(infos)} frames; there are detections of frame {index}.")
            info = frames[name] if name in frames else infos[index]
            size, limits = info.image_size, self.pcd_limit_range
            objects = to_kitti(boxes, scores, kinds, classes, info.calibration, size, limits)
            labels.append(info.objects)
            found.append(objects)
            if self.submission_prefix is not None:
                folder = Path(self.submission_prefix) / "pred_instances_3d"
                folder.mkdir(parents=True, exist_ok=True)
                write_objects(folder / f"{info.frame_id}.txt", objects)
        if self.format_only:
            return {}
        evaluation = KittiEvaluation(labels, found, classes, "<=")
        MMLogger.get_current_instance().info(table(evaluation))
        return {f"pred_instances_3d/KITTI/{name}": value for name, value in kitti_figures(evaluation).items()}


def kitti_figures(evaluation: KittiEvaluation) -> dict[str, float]:
    """mmdet3d's names -> percent, rounded to four digits, as there."""
    strict, loose = evaluation.results("strict"), evaluation.results("loose")
    figures: dict[str, float] = {}
    for overlaps, results in (("strict", strict), ("loose", loose)):
        for name, metrics in results.items():
            for metric, title in NAMES.items():
                for kind, values in metrics[metric].items():
                    for level, value in zip(DIFFICULTIES, values):
                        figures[f"{name}_{title}_{kind}_{level.name}_{overlaps}"] = value
    if len(strict) > 1:
        for metric, title in NAMES.items():
            for kind in ("AP40", "AP11"):
                values = np.mean([metrics[metric][kind] for metrics in strict.values()], axis=0)
                figures |= {f"Overall_{title}_{kind}_{level.name}": v for level, v in zip(DIFFICULTIES, values)}
    return {name: round(float(value), 4) for name, value in figures.items()}


def table(evaluation: KittiEvaluation) -> str:
    """AP40 at strict overlaps, for the log."""
    lines = ["KITTI AP40 (easy, moderate, hard), percent:"]
    for name, metrics in evaluation.results("strict").items():
        for metric in ("bev", "3d"):
            values = "  ".join(f"{value:6.2f}" for value in metrics[metric]["AP40"])
            lines.append(f"  {name:<12}{NAMES[metric]:<5}{values}")
    return "\n".join(lines)
