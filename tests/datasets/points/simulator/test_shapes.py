"""Templates fill their boxes, and their front is not their back."""

import numpy as np
import pytest

from structkd.datasets.points.simulator.materials import NAMES
from structkd.datasets.points.simulator.meshes import cuboid, ellipsoid, loft, tube
from structkd.datasets.points.simulator.shapes import OBJECTS, templates

ALL = [(name, i) for name, variants in templates().items() for i in range(len(variants))]
LABELLED = [(name, i) for name, i in ALL if name in OBJECTS]


@pytest.mark.parametrize(("name", "i"), ALL)
def test_meshes_are_sound(name, i):
    mesh = templates()[name][i]
    assert np.isfinite(mesh.vertices).all() and mesh.faces.min() >= 0 and mesh.faces.max() < len(mesh.vertices)
    assert len(mesh.material) == len(mesh.faces) and mesh.material.max() < len(NAMES)
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    assert (np.linalg.norm(np.cross(b - a, c - a), axis=1) > 0).mean() > 0.8  # poles of ellipsoids have none


@pytest.mark.parametrize(("name", "i"), LABELLED)
def test_objects_fill_the_unit_box(name, i):
    vertices = templates()[name][i].vertices
    assert vertices.min(0) == pytest.approx([-0.5, -0.5, 0]) and vertices.max(0) == pytest.approx([0.5, 0.5, 1])


@pytest.mark.parametrize(("name", "i"), LABELLED)
def test_front_and_back_differ(name, i):
    """The height profile along the object, and its mirror image, differ by a tenth of the height somewhere."""
    mesh = templates()[name][i]
    rng = np.random.default_rng(0)
    weights = rng.dirichlet((1, 1, 1), (len(mesh.faces), 200))
    surface = np.einsum("fpk,fkc->fpc", weights, mesh.vertices[mesh.faces]).reshape(-1, 3)
    column = np.clip(((surface[:, 0] + 0.5) * 12).astype(int), 0, 11)
    top = np.array([surface[column == k, 2].max(initial=0) for k in range(12)])
    assert np.abs(top - top[::-1]).max() > 0.1


@pytest.mark.parametrize("name", OBJECTS)
def test_variants_differ(name):
    meshes = templates()[name]
    for i, one in enumerate(meshes):
        for other in meshes[i + 1 :]:
            assert one.vertices.shape != other.vertices.shape or np.abs(one.vertices - other.vertices).max() > 0.01


def is_closed(mesh):
    """Every edge belongs to two faces, counted by where its ends are."""
    where = np.unique(mesh.vertices.round(9), axis=0, return_inverse=True)[1].ravel()[mesh.faces]
    where = where[(where != where[:, [1, 2, 0]]).all(1)]
    edges = np.sort(np.concatenate([where[:, [0, 1]], where[:, [1, 2]], where[:, [2, 0]]]), axis=1)
    return (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_solids_are_closed():
    sections = [(0, 0, 0, 1, 1, 1), (1, 1, 0, 2, 1, 0.5), (2, 2, 0, 1, 1, 1)]
    for mesh in (
        cuboid((0, 0, 0), (1, 2, 3), "metal"),
        loft(sections, "metal"),
        tube((0, 0, 0), (1, 1, 1), 0.2, "metal"),
        ellipsoid((0, 0, 0), (1, 2, 3), "metal"),
    ):
        assert is_closed(mesh)
    assert cuboid((0, 1, 2), (1, 3, 5), "metal").vertices.max(0).tolist() == [1, 3, 5]
