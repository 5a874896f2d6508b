"""Many instances of templates as one mesh, and what shots meet in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from structkd.backends import import_open3d
from structkd.datasets.points.simulator.sensor import Rays
from structkd.datasets.points.simulator.shapes import templates


@dataclass(frozen=True)
class Instance:
    """A template put somewhere.

    Attributes:
        kind: name of the template. variant: any number; taken modulo the variants there are.
        place: x, y of its centre and z of its bottom. size: factor along, across and up. yaw: radians.
        paint: factor on its reflectance.
    """

    kind: str
    variant: int
    place: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw: float = 0.0
    paint: float = 1.0


@dataclass(frozen=True, eq=False)
class World:
    """All triangles: vertices [V, 3] float32, faces [F, 3] uint32, their material [F] and instance [F]."""

    vertices: np.ndarray
    faces: np.ndarray
    material: np.ndarray
    owner: np.ndarray


@dataclass(frozen=True, eq=False)
class Hits:
    """What R shots meet.

    Attributes:
        distance: [R] metres, infinite where there is nothing. cosine: [R] of the angle of incidence.
        material: [R]. owner: [R] instance, -1 where there is nothing.
    """

    distance: np.ndarray
    cosine: np.ndarray
    material: np.ndarray
    owner: np.ndarray


@cache
def _shelf() -> tuple[dict[tuple[str, int], int], np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All templates end to end: their numbers, vertices, faces, materials, and the first vertex and face of each."""
    meshes = [(name, i, mesh) for name, variants in templates().items() for i, mesh in enumerate(variants)]
    numbers = {(name, i): row for row, (name, i, _) in enumerate(meshes)}
    vertices = np.concatenate([mesh.vertices for *_, mesh in meshes]).astype(np.float32)
    faces = np.concatenate([mesh.faces for *_, mesh in meshes])
    material = np.concatenate([mesh.material for *_, mesh in meshes])
    first_vertex = np.cumsum([0, *(len(mesh.vertices) for *_, mesh in meshes)])
    first_face = np.cumsum([0, *(len(mesh.faces) for *_, mesh in meshes)])
    return numbers, vertices, faces, material, first_vertex, first_face


def build(instances: Sequence[Instance], slope: tuple[float, float] = (0.0, 0.0)) -> World:
    """The triangles of all instances; `slope` is the rise of the ground a metre ahead and to the left.

    Everything is sheared with the slope, so that long things stay on the ground.
    """
    numbers, vertices, faces, material, first_vertex, first_face = _shelf()
    variants = {name: len(made) for name, made in templates().items()}
    rows = np.array([numbers[one.kind, one.variant % variants[one.kind]] for one in instances])
    of_vertex, owner_of_vertex, starts = _spread(first_vertex, rows)
    of_face, owner, _ = _spread(first_face, rows)
    place = np.array([one.place for one in instances], dtype=np.float32)
    size = np.array([one.size for one in instances], dtype=np.float32)
    yaw = np.array([one.yaw for one in instances], dtype=np.float32)
    x, y, z = (vertices[of_vertex] * size[owner_of_vertex]).T
    cos, sin = np.cos(yaw)[owner_of_vertex], np.sin(yaw)[owner_of_vertex]
    placed = np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=1) + place[owner_of_vertex]
    placed[:, 2] += placed[:, 0] * slope[0] + placed[:, 1] * slope[1]
    moved = faces[of_face] + starts[owner][:, None]
    return World(placed, moved.astype(np.uint32), material[of_face], owner)


def _spread(first: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For templates `rows` one after another: rows of the shelf, the instance of each, and where each begins."""
    counts = first[rows + 1] - first[rows]
    starts = np.cumsum(counts) - counts
    owner = np.repeat(np.arange(len(rows)), counts)
    return np.arange(len(owner)) - starts[owner] + first[rows][owner], owner, starts


def cast(world: World, rays: Rays) -> Hits:
    """The first surface that each shot from the origin meets."""
    open3d = import_open3d()
    scene = open3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(open3d.core.Tensor(world.vertices), open3d.core.Tensor(world.faces))
    lines = np.zeros((len(rays.directions), 6), dtype=np.float32)
    lines[:, 3:] = rays.directions
    found = scene.cast_rays(open3d.core.Tensor(lines), nthreads=1)
    distance = found["t_hit"].numpy()
    hit = np.isfinite(distance)
    face = np.where(hit, found["primitive_ids"].numpy(), 0)
    cosine = np.abs(np.einsum("rc,rc->r", found["primitive_normals"].numpy(), rays.directions))
    return Hits(distance, np.where(hit, cosine, 0), world.material[face], np.where(hit, world.owner[face], -1))
