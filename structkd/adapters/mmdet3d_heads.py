"""What mmdet3d's detection heads say, in the layout of our distillers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from structkd.adapters.mmdet3d_elements import point_range
from structkd.errors import WiringError
from structkd.models.points.detector import Detection

#: Where a detector keeps the head whose scores are read.
HEADS = ("bbox_head", "pts_bbox_head", "rpn_head")
#: Heads whose outputs are understood; heads that are derived from them count too.
KINDS = ("Anchor3DHead", "CenterHead", "PointRPNHead")
#: A CenterHead's branches in the order of the columns of an encoded box.
BRANCHES = ("reg", "height", "dim", "rot", "vel")


def head_of(model: nn.Module) -> tuple[str, nn.Module] | None:
    """Path and module of the head that scores are read from; the first stage's where there are two."""
    for name in HEADS:
        head = getattr(model, name, None)
        if head is not None:
            return name, head
    return None


def kind_of(head: nn.Module) -> str | None:
    """Which of `KINDS` the head is, itself or by descent."""
    return next((cls.__name__ for cls in type(head).__mro__ if cls.__name__ in KINDS), None)


def head_maps(head: nn.Module, output: Any) -> dict[str, Tensor]:
    """`logits` [B, A, K, H, W] and `box_map` [B, A, D, H, W] of what a head gave.

    - Anchor3DHead: A anchors a cell, of the first level of the map.
    - CenterHead: A = 1, the classes of all tasks one after another; `box_map` only of a single task, since each task
      has boxes of its own.
    - PointRPNHead: A = 1, the N points of a scene as a map of H = N, W = 1.

    The maps are copies where the head's own loss writes into what it gave.

    Raises:
        WiringError: an output of another form.
    """
    kind = kind_of(head)
    try:
        if kind == "Anchor3DHead":
            scores, boxes = output[0][0], output[1][0]
            box_map = boxes.unflatten(1, (-1, head.box_code_size))
            return {"logits": scores.unflatten(1, (box_map.size(1), -1)), "box_map": box_map}
        if kind == "CenterHead":
            tasks = [levels[0] for levels in output]
            found = {"logits": torch.cat([task["heatmap"] for task in tasks], 1).unsqueeze(1)}
            if len(tasks) == 1:
                found["box_map"] = torch.cat([tasks[0][name] for name in BRANCHES if name in tasks[0]], 1).unsqueeze(1)
            return found
        boxes, scores = output
        return {
            name: value.transpose(1, 2)[:, None, :, :, None] for name, value in (("logits", scores), ("box_map", boxes))
        }
    except (TypeError, IndexError, KeyError, ValueError, RuntimeError, AttributeError) as error:
        raise WiringError(f"The output of {type(head).__name__} is not that of a {kind}: {error!r}.") from error


def kept(head: nn.Module, output: Any) -> Any:
    """`output` as it is, whatever the head's loss does: a CenterHead's turns heat maps into scores in place."""
    if kind_of(head) != "CenterHead":
        return output
    return tuple([{**level, "heatmap": level["heatmap"].clone()} for level in levels] for levels in output)


class MMDet3DDetection(Detection):
    """A `Detection` whose losses and boxes mmdet3d's own head computes.

    Args:
        model: the detector.
        losses: what the detector's own loss gave in this pass; empty outside of training.
        output: what its head gave, see `kept`; None where the head was not read.
        data_samples: of the batch; their meta information and box type are used.
    """

    def __init__(self, model: nn.Module, losses: Mapping[str, Any], output: Any, data_samples: list[Any]) -> None:
        limits = point_range(model)
        bounds = None if limits is None else (limits[0], limits[1], limits[3], limits[4])
        super().__init__(len(data_samples), {}, {}, bounds=bounds)
        self.losses, self.output, self.data_samples = dict(losses), output, data_samples
        found = head_of(model)
        self.head = None if found is None else found[1]

    def _metas(self) -> list[dict[str, Any]]:
        return [sample.metainfo for sample in self.data_samples]

    def _dense_head(self) -> Any:
        if self.output is None or self.head is None or kind_of(self.head) == "PointRPNHead":
            raise WiringError(
                "Boxes and losses can be asked of a dense head only, and only where the adapter reads it (head=True)."
            )
        return self.head

    def loss(self, boxes: Tensor, labels: Tensor, boxes_batch: Tensor) -> dict[str, Tensor]:
        head, metas, instances = self._dense_head(), self._metas(), []
        for scene, sample in enumerate(self.data_samples):
            own, given = boxes_batch == scene, sample.gt_instances_3d
            objects = metas[scene]["box_type_3d"](boxes[own], box_dim=boxes.size(1))
            instances.append(type(given)(bboxes_3d=objects, labels_3d=labels[own]))
        if kind_of(head) == "CenterHead":
            losses = head.loss_by_feat(kept(head, self.output), instances)
        else:
            losses = head.loss_by_feat(*self.output, instances, metas, [None] * len(metas))
        return {
            name: value if isinstance(value, Tensor) else torch.stack(list(value)).sum()
            for name, value in losses.items()
        }

    @torch.no_grad()
    def predict(self) -> list[dict[str, Tensor]]:
        head = self._dense_head()
        output = (kept(head, self.output),) if kind_of(head) == "CenterHead" else self.output
        return [
            {"boxes": found.bboxes_3d.tensor, "scores": found.scores_3d, "labels": found.labels_3d.long()}
            for found in head.predict_by_feat(*output, batch_input_metas=self._metas())
        ]
