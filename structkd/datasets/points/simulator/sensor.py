"""A spinning LiDAR of 64 beams as it stands on KITTI's car: where it looks, and what comes back.

Elevations, azimuth step and the statistics of what comes back were measured on KITTI's scans.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from structkd.datasets.points.boxes import project, transform
from structkd.datasets.points.kitti_files import Calibration
from structkd.datasets.points.simulator.materials import Materials

#: Elevation of each beam in degrees, from the top: 32 about 0.33 apart, then 32 about 0.49 apart.
ELEVATIONS = np.array([
    2.60, 2.23, 1.96, 1.52, 1.23, 0.81, 0.55, 0.16, -0.15, -0.55, -0.83, -1.19, -1.57, -1.89, -2.21, -2.50,
    -2.80, -3.16, -3.44, -3.82, -4.13, -4.46, -4.79, -5.12, -5.50, -5.84, -6.12, -6.42, -6.80, -7.14, -7.36, -7.69,
    -8.31, -8.84, -9.28, -9.69, -10.15, -10.74, -11.24, -11.68, -12.12, -12.55, -13.08, -13.60, -14.18, -14.61, -15.12,
    -15.49, -16.11, -16.63, -17.19, -17.64, -18.13, -18.54, -18.98, -19.53, -20.05, -20.64, -21.13, -21.54, -21.97,
    -22.62, -23.14, -23.61,
])  # fmt: skip
#: Degrees between two shots of a beam: 2,007 a turn.
AZIMUTH_STEP = 0.1794
#: Metres beyond which nothing comes back.
MAX_RANGE = 120.0
#: Standard deviation of a measured range, in metres.
RANGE_NOISE = 0.02
#: Share of shots lost for no visible reason.
DROPOUT = 0.06
#: Reflectance times cosine of incidence over squared range (1/m^2) at which 63% of the shots come back.
FAINT = 3e-6
#: Degrees around the camera's view that are shot at too: the camera stands beside the LiDAR.
MARGIN = 2.0
#: Distances at which the view is checked, in metres.
_DEPTHS = (3.0, 100.0)


@dataclass(frozen=True, eq=False)
class Rays:
    """R shots in the order of a file, beam by beam from the top.

    Attributes:
        directions: [R, 3] float32 unit vectors, LiDAR frame.
        azimuth, elevation: [R] radians.
    """

    directions: np.ndarray
    azimuth: np.ndarray
    elevation: np.ndarray

    def select(self, rows: np.ndarray) -> Rays:
        return Rays(self.directions[rows], self.azimuth[rows], self.elevation[rows])


def rays_of(azimuth: np.ndarray) -> Rays:
    """All beams at the azimuths [A] (radians)."""
    elevation = np.repeat(np.radians(ELEVATIONS), len(azimuth))
    azimuth = np.tile(azimuth, len(ELEVATIONS))
    flat = np.cos(elevation)
    directions = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=1)
    return Rays(directions.astype(np.float32), azimuth, elevation)


def full_turn() -> Rays:
    """Every shot of one turn."""
    return rays_of(np.radians(np.arange(round(360 / AZIMUTH_STEP)) * AZIMUTH_STEP - 180))


def camera_rays(calibration: Calibration, image_size: tuple[int, int]) -> Rays:
    """The shots that can end in the picture, and those up to `MARGIN` beside it."""
    rays = full_turn()
    margin = np.tan(np.radians(MARGIN)) * calibration.projection[0, 0]
    seen = np.zeros(len(rays.azimuth), dtype=bool)
    for depth in _DEPTHS:
        points = transform(rays.directions.astype(np.float64) * depth, calibration.lidar_to_camera)
        pixels, ahead = project(points, calibration.projection)
        with np.errstate(invalid="ignore"):
            near = ((pixels > -margin) & (pixels < np.array(image_size) + margin)).all(axis=1)
        seen |= near & (ahead > 0)
    return rays.select(seen)


def turned(rays: Rays, rng: np.random.Generator) -> Rays:
    """The same shots from another start of the turn: shifted by up to half a step."""
    shift = np.radians(AZIMUTH_STEP) * rng.uniform(-0.5, 0.5)
    cos, sin = np.cos(shift), np.sin(shift)
    x, y, z = rays.directions.T
    directions = np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=1).astype(np.float32)
    return Rays(directions, rays.azimuth + shift, rays.elevation)


def measure(
    rays: Rays,
    distance: np.ndarray,
    cosine: np.ndarray,
    material: np.ndarray,
    paint: np.ndarray,
    materials: Materials,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """What the sensor reports of the surfaces it meets.

    Args:
        rays: R shots. distance: [R] metres to the surface, infinite where there is none.
        cosine: [R] of the angle of incidence, 0 grazing to 1 square on.
        material: [R] row of `materials`. paint: [R] factor on the reflectance of what was hit.
        materials: what surfaces are made of.

    Returns:
        rows: [P] shots that come back, in order. points: [P, 4] float32 x, y, z and reflectance 0 to 0.99 in steps of
        0.01.
    """
    reflectance = materials.reflectance[material] * paint
    signal = np.maximum(reflectance, 0.02) * cosine / np.square(distance)
    chance = (1 - DROPOUT) * materials.returns[material] * -np.expm1(-signal / FAINT)
    rows = np.flatnonzero((rng.random(len(distance)) < chance) & (distance < MAX_RANGE))
    measured = distance[rows] + rng.normal(0, RANGE_NOISE, len(rows))
    value = reflectance[rows] * rng.lognormal(-0.125, 0.5, len(rows)) * (0.55 + 0.45 * np.sqrt(cosine[rows]))
    value[rng.random(len(rows)) < materials.black[material[rows]]] = 0
    points = np.empty((len(rows), 4), dtype=np.float32)
    points[:, :3] = rays.directions[rows] * measured[:, None]
    points[:, 3] = np.round(np.clip(value, 0, 0.99), 2)
    return rows, points
