"""Layouts of streets: where cars, people, houses and trees are.

Coordinates are of the street: s along it, d to its left, the sensor's car at s = d = 0 in the right lane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from structkd.datasets.points.simulator.world import Instance

#: Length, width, height in metres: mean and standard deviation, as labelled in KITTI.
SIZES = {
    "Car": ((3.88, 1.63, 1.52), (0.41, 0.11, 0.13)),
    "Pedestrian": ((0.89, 0.73, 1.76), (0.20, 0.14, 0.10)),
    "Cyclist": ((1.75, 0.68, 1.74), (0.12, 0.15, 0.09)),
    "Van": ((4.97, 1.86, 2.16), (0.45, 0.10, 0.25)),
    "Truck": ((10.8, 2.7, 3.5), (2.0, 0.15, 0.25)),
}
#: Median distance in metres, standard deviation of its logarithm, and the farthest there is.
DISTANCES = {
    "Car": (29.0, 0.66, 78.0),
    "Pedestrian": (14.5, 0.55, 48.0),
    "Cyclist": (20.5, 0.52, 50.0),
    "Van": (30.0, 0.55, 75.0),
    "Truck": (32.0, 0.45, 75.0),
}
NEAREST = 4.5
#: Height of the pavement in metres; streets whose houses stand back further than `PAVED` have none.
KERB, PAVED = 0.12, 5.0


@dataclass(frozen=True)
class Kind:
    """A kind of street: how often it comes, how busy it is with each class, and what stands beside it."""

    share: float
    busy: Mapping[str, float]
    parking: float
    setback: tuple[float, float]
    gaps: float
    trees: float
    bushes: float


KINDS = (
    Kind(0.40, dict(Car=1.25, Pedestrian=0.5, Cyclist=0.9, Van=1.1, Truck=0.5), 0.8, (3, 9), 0.35, 9, 9),
    Kind(0.35, dict(Car=0.95, Pedestrian=2.1, Cyclist=1.5, Van=1.1, Truck=0.8), 0.5, (0.5, 3), 0.15, 4, 3),
    Kind(0.25, dict(Car=0.67, Pedestrian=0.25, Cyclist=0.45, Van=0.7, Truck=2.0), 0.0, (8, 20), 0.7, 14, 14),
)


@dataclass
class Layout:
    """Objects (those that can be labelled) and everything else, with the slope of the ground."""

    objects: list[Instance] = field(default_factory=list)
    rest: list[Instance] = field(default_factory=list)
    slope: tuple[float, float] = (0.0, 0.0)


class Street:
    """One random street; `layout` says what is where, in the frame of the sensor."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.kind = KINDS[rng.choice(len(KINDS), p=[kind.share for kind in KINDS])]
        self.lane = rng.uniform(3.0, 3.7)
        self.parked = tuple(rng.random(2) < self.kind.parking)  # right, left
        self.right = -0.5 * self.lane - 2.3 * self.parked[0] - rng.uniform(0.1, 0.6)
        self.left = 1.5 * self.lane + 2.3 * self.parked[1] + rng.uniform(0.1, 0.6)
        self.pavement = rng.uniform(1.8, 4.0, 2)
        self.turn = rng.normal(0, 0.08)
        self.height = rng.normal(-1.65, 0.04)
        self.slope = tuple(rng.normal(0, 0.011, 2).tolist())
        self.taken = np.empty((0, 3))

    def layout(self, counts: Mapping[str, float]) -> Layout:
        """Everything in the street; `counts` are mean numbers of objects of each class."""
        objects: list[Instance] = []
        for name, mean in counts.items():
            mean = mean * self.kind.busy[name]
            # More spread than Poisson: streets are empty or full.
            number = self.rng.poisson(mean * self.rng.gamma(2.0, 0.5)) if mean > 0 else 0
            for _ in range(number):
                placed = self._object(name)
                if placed is not None:
                    objects.append(placed)
        return Layout(objects, self._surroundings(), self.slope)

    def _object(self, name: str) -> Instance | None:
        """An object of a class at a free place; None if none was found."""
        rng = self.rng
        mean, spread = (np.array(values) for values in SIZES[name])
        size = mean + spread * np.clip(rng.normal(size=3), -2.2, 2.2)
        median, sigma, farthest = DISTANCES[name]
        for _ in range(12):
            distance = median * np.exp(sigma * rng.normal())
            if not NEAREST < distance < farthest:
                continue
            d, yaw = self._lane(name, size[1])
            if abs(d) > 0.8 * distance:
                continue
            s = np.sqrt(distance**2 - d**2)
            circles = _circles(s, d, yaw, size[0], size[1])
            if self._free(circles):
                self.taken = np.concatenate([self.taken, circles])
                paint = float(rng.lognormal(-0.1, 0.45))
                return self._instance(name, int(rng.integers(100)), (s, d), size, yaw, paint)
        return None

    def _lane(self, name: str, width: float) -> tuple[float, float]:
        """A place across the street and a heading."""
        rng, way = self.rng, rng_choice(self.rng, (0.0, np.pi))
        if name == "Pedestrian":
            side = int(rng.integers(2))
            inner, outer = (self.right, -1) if side == 0 else (self.left, 1)
            d = inner + outer * rng.uniform(-0.3, self.pavement[side] + 0.5)
            if rng.random() < 0.15:
                return rng.uniform(self.right, self.left), way - np.pi / 2 + rng.normal(0, 0.2)
            return d, rng.uniform(-np.pi, np.pi) if rng.random() < 0.25 else way + rng.normal(0, 0.15)
        if name == "Cyclist":
            if rng.random() < 0.2:
                return rng.uniform(self.right - 1, self.left + 1), rng.uniform(-np.pi, np.pi)
            if way == 0:
                return -0.5 * self.lane + rng.uniform(-0.4, 0.6), rng.normal(0, 0.1)
            return 1.5 * self.lane + rng.uniform(-0.6, 0.4), np.pi + rng.normal(0, 0.1)
        if name != "Truck":
            pick = rng.random()
            if self.parked[0] and pick < 0.35:
                return self.right + 0.25 + width / 2, rng.normal(0, 0.03) + np.pi * (rng.random() < 0.1)
            if self.parked[1] and pick > 0.65:
                return self.left - 0.25 - width / 2, rng.normal(0, 0.03) + np.pi * (rng.random() < 0.75)
            if pick < 0.47 and self.kind.gaps > 0.2:  # in a drive or a side street
                side = -1 if rng.random() < 0.5 else 1
                beyond = (self.left if side > 0 else -self.right) + rng.uniform(3, 9)
                return side * beyond, rng.choice((-1, 1)) * np.pi / 2 + rng.normal(0, 0.15)
        if rng.random() < 0.55:
            return self.lane + rng.normal(0, 0.25), np.pi + rng.normal(0, 0.03)
        return rng.normal(0, 0.25), rng.normal(0, 0.03)

    def _surroundings(self) -> list[Instance]:
        rng, kind = self.rng, self.kind
        rest = [Instance("ground", 0, (0.0, 0.0, self.height - 1.0), (400.0, 400.0, 1.0))]
        for side, edge, pavement in ((-1, self.right, self.pavement[0]), (1, self.left, self.pavement[1])):
            middle, front = edge + side * pavement / 2, edge + side * pavement
            if kind.setback[0] < PAVED:
                rest.append(self._instance("pavement", 0, (45.0, middle), (110.0, pavement, KERB)))
            rest += self._row(side, front, kind.setback, kind.gaps)
            rest += self._row(side, front + side * 22, (0, 15), 0.45)
            for _ in range(rng.poisson(kind.trees)):
                scale = rng.uniform(0.7, 1.5)
                d = front + side * rng.choice([rng.uniform(-0.8, 0), rng.uniform(1, 12), rng.uniform(10, 40)])
                self._beside(rest, "tree", d, (scale, scale, scale * rng.uniform(0.85, 1.15)))
            for _ in range(rng.poisson(kind.bushes)):
                size = rng.uniform(0.4, 1.4) * np.array([rng.uniform(1, 2.5), 1.0, rng.uniform(0.6, 1.4)])
                self._beside(rest, "bush", front + side * rng.uniform(0.8, 20), size)
            for s in np.arange(rng.uniform(5, 20), 70, rng.uniform(12, 30)):
                self._beside(rest, "post", edge + side * rng.uniform(0.2, 0.6), (1.0, 1.0, rng.uniform(0.8, 1.1)), s)
        for _ in range(22):  # what closes the horizon
            s, d = rng.uniform(60, 100), rng.uniform(-75, 75)
            scale = rng.uniform(1.5, 3.0)
            rest.append(
                self._instance("tree", int(rng.integers(100)), (s, d), (scale, scale, scale), rng.uniform(0, 6))
            )
            bush = (3 * scale, 2.5 * scale, scale)
            if self._free(np.array([[s - 3, d, bush[0]]])):
                rest.append(self._instance("bush", int(rng.integers(100)), (s - 3, d), bush, rng.uniform(0, 6)))
        return rest

    def _row(self, side: int, front: float, setback: tuple[float, float], gaps: float) -> list[Instance]:
        """Houses and fences along one side, with gaps."""
        rng, row, s = self.rng, [], float(self.rng.uniform(-5, 8))
        while s < 85:
            length = rng.uniform(7, 22)
            back = front + side * rng.uniform(*setback)
            if rng.random() > gaps and not self._behind(side, back, s, s + length):
                paint = float(rng.uniform(0.5, 1.4))
                box, middle = (length, 8.0, rng.uniform(3, 13)), (s + length / 2, back + side * 4.0)
                row.append(self._instance("building", 0, middle, box, rng.normal(0, 0.02), paint))
            elif rng.random() < 0.5:
                fence = (length, 0.1, rng.uniform(0.8, 1.8))
                row.append(self._instance("fence", 0, (s + length / 2, back + side * 0.5), fence, rng.normal(0, 0.03)))
            s += length + rng.uniform(0, 5) * (rng.random() < 0.5)
        return row

    def _beside(
        self, rest: list[Instance], kind: str, d: float, size: tuple[float, float, float] | np.ndarray, s: float = -1.0
    ) -> None:
        """Puts something beside the street, unless an object stands there."""
        s = float(self.rng.uniform(5, 80)) if s < 0 else s
        reach = {"post": 0.1, "tree": 0.3, "bush": float(max(size[0], size[1]))}[kind]
        if self._free(np.array([[s, d, reach]])):
            rest.append(
                self._instance(kind, int(self.rng.integers(100)), (s, d), size, self.rng.uniform(-np.pi, np.pi))
            )

    def _behind(self, side: int, front: float, start: float, end: float) -> bool:
        """Whether an object stands behind a line along the street, from `start` to `end` of it."""
        s, d, reach = self.taken.T
        return bool(((s + reach > start) & (s - reach < end) & (side * d + reach > side * front)).any())

    def _free(self, circles: np.ndarray) -> bool:
        gap = np.hypot(*(self.taken[:, None, :2] - circles[None, :, :2]).transpose(2, 0, 1))
        return bool((gap > self.taken[:, None, 2] + circles[None, :, 2]).all())

    def _instance(
        self,
        kind: str,
        variant: int,
        place: tuple[float, float],
        size: tuple[float, float, float] | np.ndarray,
        yaw: float = 0.0,
        paint: float = 1.0,
    ) -> Instance:
        """From the street's coordinates to the sensor's."""
        (s, d), cos, sin = place, np.cos(self.turn), np.sin(self.turn)
        along, across, up = (float(value) for value in size)
        raised = KERB * (kind in SIZES and self.kind.setback[0] < PAVED and not self.right < d < self.left)
        at = float(s * cos - d * sin), float(s * sin + d * cos), float(self.height + raised)
        return Instance(kind, variant, at, (along, across, up), float(yaw + self.turn), paint)


def rng_choice(rng: np.random.Generator, options: tuple[float, float]) -> float:
    """One of two numbers."""
    return options[int(rng.integers(2))]


def _circles(s: float, d: float, yaw: float, length: float, width: float) -> np.ndarray:
    """[n, 3] centres and radii of circles in a row that cover a rectangle."""
    number = max(1, int(np.ceil(length / max(width, 0.1))))
    along = (np.arange(number) + 0.5) / number * length - length / 2
    radius = np.full(number, 0.5 * np.hypot(length / number, width))
    return np.stack([s + along * np.cos(yaw), d + along * np.sin(yaw), radius], axis=1)
