"""Metrics as the runner's evaluator calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mmengine.evaluator import BaseMetric
from torch import Tensor

from structkd.datasets import to_kitti
from structkd.datasets.points.kitti_files import write_objects
from structkd.errors import ConfigError, DataError
from structkd.evaluation.kitti import DIFFICULTIES, KittiEvaluation, KittiObjects
from structkd.evaluation.links import hits_at_k, mean_reciprocal_rank, roc_auc

__all__ = ["Accuracy", "KittiAP", "LinkRanking"]


class SplitMetric(BaseMetric):
    """Base of metrics that give `<split>/<name>`; every process evaluates everything, so nothing is collected."""

    default_prefix = ""  # names are complete as they are

    def __init__(self) -> None:
        super().__init__(collect_device="cpu")

    def write(self, folder: Path) -> None:
        """Write what was predicted into `folder`, in the benchmark's own format."""
        raise ConfigError(f"{type(self).__name__} knows no file format for predictions.")

    def evaluate(self, size: int) -> dict[str, float]:
        metrics = self.compute_metrics(self.results)
        self.results.clear()
        return metrics


class Accuracy(SplitMetric):
    """Share of correctly classified nodes or graphs, per split, as `<split>/accuracy` in 0..1.

    For 0/1 label matrices a label counts as predicted when its logit is positive, and each entry counts.

    Args:
        production_rate: share of held-out nodes in production; where the splits `test` (nodes the teacher saw
            without labels) and `ind` (nodes nobody saw) are both there, `prod` is
            `(1 - rate) * test + rate * ind`, as in GLNN's production setting.
    """

    def __init__(self, production_rate: float = 0.2) -> None:
        super().__init__()
        self.production_rate = production_rate

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        for sample in data_samples:
            logits, y = sample["logits"], sample["y"]
            right = logits.argmax(-1) == y if y.dim() == 1 else (logits > 0) == (y > 0.5)
            for split, rows in sample["splits"].items():
                self.results.append((split, float(right[rows].sum()), right[rows].numel()))

    def compute_metrics(self, results: list[tuple[str, float, int]]) -> dict[str, float]:
        right: dict[str, float] = {}
        count: dict[str, int] = {}
        for split, correct, size in results:
            right[split] = right.get(split, 0.0) + correct
            count[split] = count.get(split, 0) + size
        metrics = {f"{split}/accuracy": right[split] / count[split] for split in right if count[split]}
        if "test/accuracy" in metrics and "ind/accuracy" in metrics:
            rate = self.production_rate
            metrics["prod/accuracy"] = (1 - rate) * metrics["test/accuracy"] + rate * metrics["ind/accuracy"]
        return metrics


class LinkRanking(SplitMetric):
    """How a split's true links rank among its false ones: `<split>/hits@K`, `<split>/mrr` and `<split>/auc`.

    A split is scored whole, in one batch; one without true or without false links is left out.

    Args:
        hits: the values of K.
    """

    def __init__(self, hits: Sequence[int] = (10, 20, 50)) -> None:
        super().__init__()
        self.hits = tuple(hits)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        for sample in data_samples:
            scores, y = sample["logits"].reshape(-1).cpu(), sample["y"].cpu()
            for split, rows in sample["splits"].items():
                rows = rows.cpu()
                self.results.append((split, scores[rows[y[rows] > 0]], scores[rows[y[rows] == 0]]))

    def compute_metrics(self, results: list[tuple[str, Tensor, Tensor]]) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for split, positive, negative in results:
            if positive.numel() and negative.numel():
                metrics |= {f"{split}/hits@{k}": hits_at_k(positive, negative, k) for k in self.hits}
                metrics[f"{split}/mrr"] = mean_reciprocal_rank(positive, negative)
                metrics[f"{split}/auc"] = roc_auc(positive, negative)
        return metrics


class KittiAP(SplitMetric):
    """KITTI's average precision of detected boxes; every figure from 0 to 1.

    `<split>/3d` and `<split>/bev`, which tables lead with, are AP40 at moderate difficulty and strict overlaps, the
    mean over the classes; `<split>/3d Car` and its like are the classes'. The others are named as in mmdet3d, for
    example `detail/Car_3D_AP40_moderate_strict`.

    Args:
        frames: split -> frames with `annotations(index)` and `classes`.
        height_rule: "<" (official) or "<=", see `KittiEvaluation`.
    """

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
