"""One simulated frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from structkd.datasets.points.kitti import IMAGE_SIZE
from structkd.datasets.points.kitti_files import Calibration
from structkd.datasets.points.loader import rng_of
from structkd.datasets.points.simulator.labels import label
from structkd.datasets.points.simulator.materials import MATERIALS
from structkd.datasets.points.simulator.sensor import Rays, camera_rays, full_turn, measure, turned
from structkd.datasets.points.simulator.street import Street
from structkd.datasets.points.simulator.world import build, cast
from structkd.evaluation.kitti.objects import KittiObjects

#: The calibration of all frames: KITTI's camera, beside a LiDAR that stands straight.
PROJECTION = np.array([[721.5377, 0, 609.5593, 44.85728], [0, 721.5377, 172.854, 0.2163791], [0, 0, 1, 0.002745884]])
LIDAR_TO_CAMERA = np.array([[0.0, -1, 0, -0.004], [0, 0, -1, -0.076], [1, 0, 0, -0.272], [0, 0, 0, 1]])
CALIBRATION = Calibration(PROJECTION, LIDAR_TO_CAMERA)
#: Objects put into a street on average; see `Simulation.counts`.
COUNTS = {"Car": 4.7, "Pedestrian": 1.6, "Cyclist": 1.1, "Van": 0.4, "Truck": 0.15}


@dataclass(frozen=True)
class Simulation:
    """What makes up simulated frames.

    Args:
        seed: with the number of a frame it fixes the frame, whatever else is made.
        counts: mean number of objects of each class put into a street. Some find no place, and some are hidden or
            outside the picture: of 4.7 cars 4.2 are labelled. The default has four times as many cyclists as KITTI,
            so that a set of a few hundred frames teaches them; for KITTI's own share put 0.25.
        full: shoot all round; by default only where the camera looks, which is all that training reads.
    """

    seed: int = 0
    counts: Mapping[str, float] = field(default_factory=lambda: dict(COUNTS))
    full: bool = False

    def frame(self, number: int) -> tuple[np.ndarray, KittiObjects]:
        """Points [P, 4] float32 and labels of frame `number`."""
        rng = rng_of(self.seed, number)
        layout = Street(rng).layout(self.counts)
        # The objects come first, so that an instance's number is its object's.
        world = build([*layout.objects, *layout.rest], layout.slope)
        rays = turned(_rays(self.full), rng)
        hits = cast(world, rays)
        paint = np.array([one.paint for one in (*layout.objects, *layout.rest)])[hits.owner]
        rows, points = measure(rays, hits.distance, hits.cosine, hits.material, paint, MATERIALS, rng)
        count = len(layout.objects)
        met, back = (
            np.bincount(owner[(owner >= 0) & (owner < count)], minlength=count)
            for owner in (hits.owner, hits.owner[rows])
        )
        return points, label(layout.objects, layout.slope, met, back, CALIBRATION, IMAGE_SIZE)


@cache
def _rays(full: bool) -> Rays:
    return full_turn() if full else camera_rays(CALIBRATION, IMAGE_SIZE)
