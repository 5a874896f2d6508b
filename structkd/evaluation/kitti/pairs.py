"""Which labelled objects and detections overlap, and how much: computed once for all classes and difficulties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from structkd.evaluation.kitti.criteria import DIFFICULTIES, Category
from structkd.evaluation.kitti.objects import KittiObjects
from structkd.ops.iou_2d import extent, intersection_2d, iou_2d, over_union, overlap_1d
from structkd.ops.rotated_iou import rotated_intersection

#: Pairs looked at together; bounds the memory whatever the number of frames.
BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of an object and a detection of the same frame that overlap, by object and then by detection.

    Attributes:
        label, detection: [P] int64 rows of the frames' objects put end to end.
        overlap: by metric ("2d", "bev", "3d"), [P] float64 intersection over union.
    """

    label: np.ndarray
    detection: np.ndarray
    overlap: dict[str, np.ndarray]


def overlapping_pairs(
    labels: KittiObjects,
    detections: KittiObjects,
    label_count: np.ndarray,
    detection_count: np.ndarray,
    categories: Sequence[Category],
) -> Pairs:
    """The pairs that the evaluation of these categories can match.

    Args:
        labels, detections: objects of F frames, put end to end.
        label_count, detection_count: [F] how many of them each frame has.
        categories: a pair counts if the object is of a category or its neighbour, and the detection of the same
            category, or so low that it is ignored at some difficulty.
    """
    wanted, found = _kinds(labels, detections, categories)
    low = detections.image_height < max(difficulty.min_height for difficulty in DIFFICULTIES)
    blocks = []
    for label, detection in same_frame(label_count, detection_count):
        possible = (wanted[label] >= 0) & ((wanted[label] == found[detection]) | low[detection])
        label, detection = label[possible], detection[possible]
        overlap = _overlaps(labels[label], detections[detection])
        some = np.logical_or.reduce([values > 0 for values in overlap.values()])
        blocks.append((label[some], detection[some], *(values[some] for values in overlap.values())))
    label, detection, *values = (np.concatenate(parts) for parts in zip(*blocks))
    return Pairs(label, detection, dict(zip(("2d", "bev", "3d"), values)))


def dont_care_share(
    labels: KittiObjects, detections: KittiObjects, label_count: np.ndarray, detection_count: np.ndarray
) -> np.ndarray:
    """[D] the largest share of each detection's 2D box that lies in one DontCare region of its frame."""
    region_count = np.zeros_like(label_count)
    np.add.at(region_count, np.repeat(np.arange(len(label_count)), label_count), labels.dont_care)
    regions = torch.from_numpy(labels.image_boxes[labels.dont_care])
    boxes = torch.from_numpy(detections.image_boxes)
    share = np.zeros(len(detections))
    for region, detection in same_frame(region_count, detection_count):
        own = boxes[detection]
        shared = intersection_2d(own, regions[region], aligned=True)
        area = extent(own[:, 2:] - own[:, :2])
        np.maximum.at(share, detection, torch.where(area > 0, shared / area, 0).numpy())
    return share


def _kinds(
    labels: KittiObjects, detections: KittiObjects, categories: Sequence[Category]
) -> tuple[np.ndarray, np.ndarray]:
    """Index of the category each object can be matched in, and of each detection's; -1 for none."""
    wanted, found = np.full(len(labels), -1), np.full(len(detections), -1)
    for index, category in enumerate(categories):
        wanted[labels.kind == category.name.lower()] = index
        found[detections.kind == category.name.lower()] = index
        if category.neighbour is not None:
            wanted[labels.kind == category.neighbour.lower()] = index
    return wanted, found


def same_frame(count_a: np.ndarray, count_b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of a row of a and a row of b that belong to the same frame, in order, in blocks of some `BLOCK`.

    There is at least one block, if need be an empty one.
    """
    partners = np.repeat(count_b, count_a)
    first = np.repeat(np.cumsum(count_b) - count_b, count_a)
    block = np.cumsum(partners) // BLOCK
    for rows in np.split(np.arange(len(partners)), np.flatnonzero(np.diff(block)) + 1):
        count = partners[rows]
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        yield np.repeat(rows, count), np.repeat(first[rows], count) + within


def _overlaps(a: KittiObjects, b: KittiObjects) -> dict[str, np.ndarray]:
    """Overlaps of aligned pairs by metric."""
    image = iou_2d(torch.from_numpy(a.image_boxes), torch.from_numpy(b.image_boxes), aligned=True)
    (ground_a, area_a, span_a, volume_a), (ground_b, area_b, span_b, volume_b) = _views(a), _views(b)
    shared = rotated_intersection(ground_a, ground_b, aligned=True)
    shared_volume = shared * overlap_1d(span_a, span_b, 0, 1)
    return {
        "2d": image.numpy(),
        "bev": over_union(shared, area_a, area_b, aligned=True).numpy(),
        "3d": over_union(shared_volume, volume_a, volume_b, aligned=True).numpy(),
    }


def _views(objects: KittiObjects) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rectangles on the ground [N, 5] and their areas [N], intervals of height [N, 2], volumes [N]."""
    x, y, z, length, height, width, heading = torch.from_numpy(objects.camera_boxes).t()
    # Seen from above, with x to the right and z ahead, rotation_y turns clockwise. y points down to the bottom face.
    ground = torch.stack([x, z, length, width, -heading], 1)
    sizes = torch.stack([length, width, height], 1)
    return ground, extent(sizes[:, :2]), torch.stack([y - height, y], 1), extent(sizes)
