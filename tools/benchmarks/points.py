"""Point clouds: the speed of the KITTI evaluation, and of distilling edges between pillars."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from benchmarks.edges import COMPARISONS
from benchmarks.harness import Benchmark, Row, Setting
from structkd.datasets.points.boxes import image_boxes
from structkd.evaluation.kitti import KittiEvaluation, KittiObjects

SIZES = {
    "small": "200 frames with 1,600 labelled objects and 2,000 detections; 400 pillars: a trial",
    "kitti": "8,008 frames with 65,301 labelled objects and 80,471 detections, about as many as KITTI has; 14,000 "
    "pillars of which 6,000 are asked about their 128 neighbours, as PointDistiller does",
}
COUNTS = {"small": (200, 1_600, 2_000), "kitti": (8_008, 65_301, 80_471)}
PROJECTION = np.array([[721.54, 0, 609.56, 44.857], [0, 721.54, 172.85, 0.21638], [0, 0, 1, 0.0027459]])
#: Share of the labels and mean l, h, w in metres.
TYPES = {
    "Car": (0.46, (3.88, 1.52, 1.63)),
    "Van": (0.05, (4.97, 2.16, 1.86)),
    "Truck": (0.02, (10.8, 3.5, 2.7)),
    "Pedestrian": (0.16, (0.89, 1.76, 0.73)),
    "Cyclist": (0.05, (1.75, 1.74, 0.68)),
    "DontCare": (0.26, (4.0, 1.5, 1.6)),
}


def kitti_frames(
    num_frames: int, num_labels: int, num_detections: int, seed: int = 0
) -> tuple[list[KittiObjects], list[KittiObjects]]:
    """Random labels, and detections as a fair detector gives them: most objects found, some twice, some invented.

    Objects stand at random places ahead of the camera, so that some overlap in the image.
    """
    random = np.random.default_rng(seed)
    names = np.array(list(TYPES))
    shares, sizes = (np.array(values) for values in zip(*TYPES.values()))
    kind = random.choice(len(names), num_labels, p=shares)
    boxes = np.column_stack(
        [
            random.uniform(-20, 20, num_labels),
            random.normal(1.65, 0.1, num_labels),
            random.gamma(3, 9, num_labels) + 4,
            sizes[kind] * random.normal(1, 0.08, (num_labels, 3)).clip(0.5),
            random.choice([0, np.pi / 2, np.pi, -np.pi / 2], num_labels) + random.normal(0, 0.2, num_labels),
        ]
    )
    labels = _objects(
        names[kind],
        boxes,
        truncated=random.choice([0, 0.2, 0.6], num_labels, p=[0.9, 0.06, 0.04]),
        occluded=random.choice([0, 1, 2], num_labels, p=[0.5, 0.3, 0.2]),
    )
    source = random.choice(np.flatnonzero(names[kind] != "DontCare"), num_detections)
    moved = boxes[source]
    right = random.random(num_detections) < 0.8
    moved[:, :3] += random.normal(0, 1, (num_detections, 3)) * np.where(right[:, None], (0.08, 0.05, 0.12), (8, 0.3, 8))
    moved[:, 2] = moved[:, 2].clip(3)
    moved[:, 3:] += random.normal(0, 0.03, (num_detections, 4))
    score = random.beta(np.where(right, 5, 1.5), np.where(right, 1.5, 4))
    detections = _objects(names[kind[source]], moved, score=score.round(4))
    frame = np.sort(random.integers(num_frames, size=num_labels))
    return _by_frame(labels, frame, num_frames), _by_frame(detections, frame[source], num_frames)


def _objects(kind: np.ndarray, boxes: np.ndarray, **columns: Any) -> KittiObjects:
    rectangles, _ = image_boxes(boxes, PROJECTION, (1242, 375))
    return KittiObjects.from_boxes(kind, boxes, rectangles, **columns)


def _by_frame(objects: KittiObjects, frame: np.ndarray, num_frames: int) -> list[KittiObjects]:
    order = np.argsort(frame, kind="stable")
    ends = np.searchsorted(frame[order], np.arange(num_frames + 1))
    return [objects[order[start:end]] for start, end in pairwise(ends)]


class Evaluation:
    """All averages of KITTI's evaluation at strict overlaps, from objects in memory, on one core."""

    name = "KITTI AP"
    limit_s = 10.0

    def measure(self, setting: Setting) -> list[Row]:
        setting.say(f"{self.name}: making the frames")
        frames = kitti_frames(*COUNTS[setting.size])
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        times = []
        for i in range(setting.repeats):
            setting.say(f"{self.name}: repeat {i + 1} of {setting.repeats}")
            start = time.perf_counter()
            results = KittiEvaluation(*frames).results()
            times.append(time.perf_counter() - start)
        torch.set_num_threads(threads)
        seconds = statistics.median(times)
        asked = (f"<= {self.limit_s:g}", seconds <= self.limit_s) if setting.size == "kitti" else ("", None)
        detail = {"about": self.__doc__, "seconds": times, "results": results}
        return [Row(self.name, "time on one core, s", None, seconds, None, *asked, detail)]

    def part(self, setting: Setting, part: str) -> dict[str, Any]:
        raise NotImplementedError


def suite(size: str) -> list[Benchmark]:
    return [Evaluation(), *COMPARISONS]
