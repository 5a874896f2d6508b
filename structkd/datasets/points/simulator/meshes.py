"""Triangle meshes from simple solids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from structkd.datasets.points.simulator.materials import material


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with a material each.

    Attributes:
        vertices: [V, 3] metres. faces: [F, 3] rows of `vertices`. material: [F] rows of `materials.NAMES`.
    """

    vertices: np.ndarray
    faces: np.ndarray
    material: np.ndarray


def merge(*meshes: Mesh) -> Mesh:
    """Several meshes as one."""
    first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, first)]),
        np.concatenate([mesh.material for mesh in meshes]),
    )


def unit(mesh: Mesh) -> Mesh:
    """The mesh stretched to fill -0.5..0.5 in x and y and 0..1 in z: a template for boxes of any size."""
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    return Mesh((mesh.vertices - low) / (high - low) - [0.5, 0.5, 0], mesh.faces, mesh.material)


def loft(
    sections: Sequence[tuple[float, float, float, float, float, float]], made_of: str, side: str | None = None
) -> Mesh:
    """A solid through four-cornered sections along x, symmetric in y.

    Args:
        sections: x at the bottom, x at the top, z of bottom and top, half width at bottom and top; from back to front.
        made_of: material.
        side: material of the left and right side and of both ends; default the same.
    """
    vertices = [
        corner
        for x0, x1, z0, z1, w0, w1 in sections
        for corner in ((x0, w0, z0), (x0, -w0, z0), (x1, -w1, z1), (x1, w1, z1))
    ]
    body, flank = material(made_of), material(side or made_of)
    faces, kinds = [(0, 1, 2), (0, 2, 3)], [flank, flank]
    last = 4 * (len(sections) - 1)
    for start in range(0, last, 4):
        for i, kind in enumerate((body, flank, body, flank)):
            a, b = start + i, start + (i + 1) % 4
            faces += [(a, b, b + 4), (a, b + 4, a + 4)]
            kinds += [kind, kind]
    faces += [(last, last + 1, last + 2), (last, last + 2, last + 3)]
    return Mesh(np.array(vertices, dtype=np.float64), np.array(faces), np.array([*kinds, flank, flank]))


def cuboid(low: Sequence[float], high: Sequence[float], made_of: str) -> Mesh:
    """An upright box between two corners."""
    half, middle = (high[1] - low[1]) / 2, (high[1] + low[1]) / 2
    mesh = loft([(x, x, low[2], high[2], half, half) for x in (low[0], high[0])], made_of)
    return Mesh(mesh.vertices + np.array([0, middle, 0]), mesh.faces, mesh.material)


def tube(
    start: Sequence[float],
    end: Sequence[float],
    radius: float,
    made_of: str,
    end_radius: float | None = None,
    sides: int = 6,
) -> Mesh:
    """A closed tube from one point to another, perhaps narrowing."""
    first, last = np.array(start, dtype=np.float64), np.array(end, dtype=np.float64)
    along = (last - first) / np.linalg.norm(last - first)
    across = np.cross(along, [1.0, 0, 0] if abs(along[0]) < 0.8 else [0, 1.0, 0])
    across /= np.linalg.norm(across)
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * np.cross(along, across)
    vertices = np.concatenate(
        [first + radius * ring, last + (radius if end_radius is None else end_radius) * ring, [first, last]]
    )
    i = np.arange(sides)
    j = (i + 1) % sides
    both = np.full(sides, 2 * sides)
    faces = np.concatenate(
        [
            np.stack([i, j, j + sides], 1),
            np.stack([i, j + sides, i + sides], 1),
            np.stack([j, i, both], 1),
            np.stack([i + sides, j + sides, both + 1], 1),
        ]
    )
    return Mesh(vertices, faces, np.full(len(faces), material(made_of)))


def ellipsoid(centre: Sequence[float], radii: Sequence[float], made_of: str, sides: int = 8, rings: int = 5) -> Mesh:
    """A closed ellipsoid of `sides` by `rings` faces."""
    polar = np.linspace(0, np.pi, rings + 1)[:, None]
    angle = np.arange(sides) * 2 * np.pi / sides
    ball = np.stack(
        [np.sin(polar) * np.cos(angle), np.sin(polar) * np.sin(angle), np.cos(polar) + 0 * angle], axis=2
    ).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rings) * sides, np.arange(sides), indexing="ij")
    a, b = (i + j).ravel(), (i + (j + 1) % sides).ravel()
    faces = np.concatenate([np.stack([a, b, b + sides], 1), np.stack([a, b + sides, a + sides], 1)])
    return Mesh(ball * radii + centre, faces, np.full(len(faces), material(made_of)))


def leaves(rng: np.random.Generator, count: int, size: float, made_of: str = "foliage") -> Mesh:
    """Loose triangles in the unit ball, denser towards its surface: a shot may pass between them.

    Args:
        count: triangles. size: their length as a share of the radius.
    """
    outward = rng.normal(size=(count, 1, 3))
    outward /= np.linalg.norm(outward, axis=2, keepdims=True)
    centre = outward * rng.uniform(0.4, 0.95, (count, 1, 1)) ** 0.5
    vertices = centre + rng.normal(0, size / 2, (count, 3, 3))
    return Mesh(vertices.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3), np.full(count, material(made_of)))
