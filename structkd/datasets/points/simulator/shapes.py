"""Templates of what stands in a street, each in several variants.

Objects that are labelled fill the unit box and head along x, and front and back differ: a car's cabin sits behind a
sloping bonnet, a pedestrian's feet and hands point ahead (and a backpack back), a cyclist leans to the handle bar.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np

from structkd.datasets.points.simulator.meshes import Mesh, cuboid, ellipsoid, leaves, loft, merge, tube, unit


def _wheels(front: float, back: float, radius: float, half: float) -> list[Mesh]:
    return [
        tube((x, side * (half - 0.2), radius), (x, side * half, radius), radius, "tyre", sides=8)
        for x in (front, back)
        for side in (-1, 1)
    ]


def _car(rear: float, roof_back: float, roof_front: float, screen: float, boot: float, height: float) -> Mesh:
    """A car of 3.9 m; `rear` and `screen` are where the windows meet the body, `boot` its height at the back."""
    body = loft(
        [
            (-1.93, -1.95, 0.30, 0.75 * boot, 0.70, 0.68),
            (-1.82, -1.85, 0.20, boot, 0.78, 0.72),
            (screen, screen, 0.20, 0.92, 0.79, 0.75),
            (1.55, 1.52, 0.20, 0.74, 0.77, 0.68),
            (1.95, 1.92, 0.28, 0.58, 0.66, 0.60),
        ],
        "paintwork",
    )
    cabin = loft(
        [(rear, roof_back, min(boot, 0.92), height, 0.74, 0.56), (screen, roof_front, 0.90, height, 0.74, 0.56)],
        "paintwork",
        side="glass",
    )
    lights = [
        cuboid((x - 0.03, side * 0.52 - 0.12, z), (x + 0.03, side * 0.52 + 0.12, z + 0.14), "lamp")
        for x, z in ((1.90, 0.50), (-1.93, 0.62))
        for side in (-1, 1)
    ]
    plates = [cuboid((x - 0.01, -0.26, 0.38), (x + 0.01, 0.26, 0.50), "sign") for x in (-1.95, 1.95)]
    mirrors = [
        cuboid((screen - 0.35, side * 0.76 - 0.06, 0.88), (screen - 0.22, side * 0.76 + 0.06, 1.0), "paintwork")
        for side in (-1, 1)
    ]
    return merge(body, cabin, *lights, *plates, *mirrors, *_wheels(1.25, -1.25, 0.31, 0.8))


def cars() -> list[Mesh]:
    """Hatchbacks, a saloon, an estate and an off-roader."""
    return [
        _car(-1.75, -1.35, 0.05, 0.75, 0.92, 1.48),
        _car(-1.85, -1.60, 0.15, 0.85, 0.92, 1.52),
        _car(-1.35, -0.75, -0.05, 0.65, 0.90, 1.42),
        _car(-1.90, -1.75, 0.00, 0.70, 0.92, 1.46),
        _car(-1.85, -1.65, 0.10, 0.70, 1.05, 1.70),
    ]


def vans() -> list[Mesh]:
    """Tall and almost without a bonnet."""
    made = []
    for nose, height in ((0.5, 2.1), (0.9, 1.9)):
        body = loft(
            [
                (-2.45, -2.42, 0.25, height, 0.90, 0.82),
                (2.45 - nose, 2.0 - nose, 0.25, height, 0.90, 0.80),
            ],
            "paintwork",
        )
        front = loft(
            [(2.45 - nose, 2.45 - nose, 0.25, 1.15, 0.90, 0.88), (2.45, 2.40, 0.30, 0.85, 0.80, 0.72)], "paintwork"
        )
        screen = loft(
            [
                (2.44 - nose, 2.02 - nose, 1.15, 0.95 * height, 0.84, 0.76),
                (2.52 - nose, 2.10 - nose, 1.15, 0.95 * height, 0.84, 0.76),
            ],
            "glass",
        )
        made.append(merge(body, front, screen, *_wheels(1.6, -1.6, 0.34, 0.9)))
    return made


def trucks() -> list[Mesh]:
    """A cab ahead of a box."""
    box = cuboid((-5.0, -1.25, 1.0), (2.7, 1.25, 3.5), "paintwork")
    cab = loft([(3.0, 3.0, 0.6, 3.0, 1.2, 1.1), (5.0, 4.7, 0.5, 2.7, 1.2, 1.05)], "paintwork")
    beam = cuboid((-5.0, -0.6, 0.7), (4.0, 0.6, 1.0), "metal")
    return [merge(box, cab, beam, *_wheels(4.0, -3.5, 0.5, 1.2), *_wheels(-2.3, 1.5, 0.5, 1.2))]


def _limb(points: list[tuple[float, float, float]], radius: float, made_of: str) -> Mesh:
    return merge(*(tube(a, b, radius, made_of, 0.85 * radius, sides=5) for a, b in pairwise(points)))


def _pedestrian(stride: float, swing: float, backpack: bool, coat: bool) -> Mesh:
    """A walker; `stride` is half the distance of the feet, `swing` how far one hand is ahead of the other."""
    parts = [
        tube((0.0, 0, 0.85), (0.05, 0, 1.45), 0.17, "cloth", 0.21, sides=8),
        ellipsoid((0.09, 0, 1.64), (0.11, 0.09, 0.13), "skin"),
        cuboid((0.17, -0.06, 1.66), (0.24, 0.06, 1.70), "cloth"),
    ]
    for side, phase in ((1, 1), (-1, -1)):
        foot = phase * stride
        parts.append(
            _limb(
                [(0, side * 0.09, 0.9), (0.06 + foot / 2, side * 0.1, 0.48), (foot, side * 0.1, 0.06)], 0.085, "cloth"
            )
        )
        parts.append(cuboid((foot - 0.06, side * 0.1 - 0.045, 0), (foot + 0.21, side * 0.1 + 0.045, 0.09), "tyre"))
        hand = 0.24 - phase * swing
        parts.append(
            _limb(
                [(0.05, side * 0.23, 1.4), (-0.03 - phase * swing / 2, side * 0.28, 1.12), (hand, side * 0.25, 1.02)],
                0.055,
                "cloth",
            )
        )
    if backpack:
        parts.append(cuboid((-0.34, -0.15, 1.0), (-0.13, 0.15, 1.45), "cloth"))
    if coat:
        parts.append(tube((-0.02, 0, 0.45), (0.0, 0, 0.95), 0.24, "cloth", 0.18, sides=8))
    return merge(*parts)


def pedestrians() -> list[Mesh]:
    """Walkers and people who stand, with and without backpacks and coats."""
    return [
        _pedestrian(0.30, 0.12, True, False),
        _pedestrian(0.25, -0.12, False, True),
        _pedestrian(0.10, 0.05, True, True),
        _pedestrian(0.34, 0.18, False, False),
        _pedestrian(0.05, 0.0, False, True),
        _pedestrian(0.20, -0.08, True, False),
    ]


def _wheel(x: float, radius: float = 0.34, sides: int = 12) -> Mesh:
    return merge(
        tube((x, -0.025, radius), (x, 0.025, radius), radius, "tyre", sides=sides),
        tube((x, -0.03, radius), (x, 0.03, radius), 0.88 * radius, "spokes", sides=sides),
    )


def _cyclist(lean: float, crank: float) -> Mesh:
    """A rider; `lean` is how far the shoulders are ahead of the hips, `crank` the angle of the pedals."""
    hips, shoulders, bar = (-0.22, 0, 0.98), (-0.22 + lean, 0, 1.47), (0.42, 0, 1.02)
    parts = [
        _wheel(-0.54),
        _wheel(0.54),
        tube((-0.54, 0, 0.34), (-0.2, 0, 0.9), 0.035, "frame", sides=5),
        tube((0, 0, 0.3), (-0.2, 0, 0.9), 0.03, "frame", sides=5),
        tube((0, 0, 0.3), (0.4, 0, 0.85), 0.03, "frame", sides=5),
        tube((-0.17, 0, 0.82), (0.4, 0, 0.85), 0.03, "frame", sides=5),
        tube((0.54, 0, 0.34), bar, 0.035, "frame", sides=5),
        tube((0.40, -0.32, 1.04), (0.40, 0.32, 1.04), 0.03, "frame", sides=5),
        tube(hips, shoulders, 0.18, "cloth", 0.22, sides=8),
        ellipsoid((shoulders[0] + 0.13, 0, 1.63), (0.13, 0.09, 0.13), "skin"),
    ]
    for side, phase in ((1, crank), (-1, crank + np.pi)):
        pedal = (0.16 * np.cos(phase), side * 0.12, 0.32 + 0.16 * np.sin(phase))
        knee = (0.14 + 0.08 * np.cos(phase), side * 0.13, 0.72 + 0.12 * np.sin(phase))
        parts.append(_limb([(hips[0], side * 0.09, 0.95), knee, pedal], 0.08, "cloth"))
        parts.append(
            _limb([(shoulders[0], side * 0.2, 1.4), (0.22, side * 0.3, 1.2), (0.40, side * 0.28, 1.05)], 0.05, "cloth")
        )
    return merge(*parts)


def cyclists() -> list[Mesh]:
    """Riders upright and bent, the pedals at four places."""
    return [_cyclist(lean, crank) for lean, crank in ((0.15, 0.3), (0.25, 1.4), (0.32, 2.6), (0.20, 4.0))]


def trees() -> list[Mesh]:
    """A trunk and a crown; 6 m high, to be scaled."""
    made = []
    for i in range(4):
        crown = leaves(np.random.default_rng((1, i)), 220, 0.22)
        crown = Mesh(crown.vertices * [2.0, 2.0, 2.2] + [0, 0, 3.9], crown.faces, crown.material)
        made.append(merge(tube((0, 0, -0.2), (0, 0, 3.2), 0.17, "bark", 0.12), crown))
    return made


def bushes() -> list[Mesh]:
    """Balls of leaves on the ground, 2 m wide and 1.6 m high."""
    made = []
    for i in range(4):
        ball = leaves(np.random.default_rng((2, i)), 130, 0.3)
        made.append(
            Mesh(np.maximum(ball.vertices * [1, 1, 0.8] + [0, 0, 0.75], [-9, -9, 0]), ball.faces, ball.material)
        )
    return made


def posts() -> list[Mesh]:
    """Street lamps, signs and bollards, in metres."""
    lamp = tube((0, 0, 0), (0, 0, 6.5), 0.09, "metal", 0.06)
    sign = merge(tube((0, 0, 0), (0, 0, 2.4), 0.04, "metal"), cuboid((-0.02, -0.3, 1.8), (0.02, 0.3, 2.4), "sign"))
    return [lamp, sign, tube((0, 0, 0), (0, 0, 1.0), 0.07, "metal")]


def _blocks(made_of: str) -> Callable[[], list[Mesh]]:
    return lambda: [cuboid((-0.5, -0.5, 0), (0.5, 0.5, 1), made_of)]


#: The labelled kinds; their templates fill the unit box.
OBJECTS: dict[str, Callable[[], list[Mesh]]] = {
    "Car": cars,
    "Pedestrian": pedestrians,
    "Cyclist": cyclists,
    "Van": vans,
    "Truck": trucks,
}
SURROUNDINGS: dict[str, Callable[[], list[Mesh]]] = {
    "ground": _blocks("asphalt"),
    "pavement": _blocks("pavement"),
    "building": _blocks("facade"),
    "fence": _blocks("bark"),
    "tree": trees,
    "bush": bushes,
    "post": posts,
}


@cache
def templates() -> dict[str, list[Mesh]]:
    """All variants of each kind."""
    made = {name: [unit(mesh) for mesh in make()] for name, make in OBJECTS.items()}
    return made | {name: make() for name, make in SURROUNDINGS.items()}
