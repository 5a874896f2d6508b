import numpy as np
import pytest

from structkd.datasets.points.boxes import boxes_to_lidar
from structkd.datasets.points.gt_database import cut_out
from structkd.datasets.points.simulator import Simulation
from structkd.datasets.points.simulator.sensor import ELEVATIONS, full_turn
from structkd.datasets.points.simulator.simulate import CALIBRATION
from structkd.datasets.points.simulator.world import Instance, build, cast

pytestmark = pytest.mark.usefixtures("open3d")

FEW = {"Car": 3.0, "Pedestrian": 1.0, "Cyclist": 1.0, "Van": 0.5, "Truck": 0.2}


@pytest.fixture(scope="module")
def frames():
    return [Simulation(seed=7).frame(number) for number in range(24)]


def boxes_of(objects):
    return boxes_to_lidar(objects.camera_boxes, CALIBRATION.lidar_to_camera)


def test_a_frame_depends_on_seed_and_number_alone(frames):
    points, objects = Simulation(seed=7).frame(3)
    assert np.array_equal(points, frames[3][0]) and np.array_equal(objects.rows, frames[3][1].rows)
    assert not np.array_equal(Simulation(seed=8).frame(3)[0][:50], points[:50])
    assert not np.array_equal(frames[4][0][:50], points[:50])


def test_points_are_those_of_the_sensor(frames):
    for points, _ in frames[:6]:
        assert points.dtype == np.float32 and np.isfinite(points).all()
        assert ((points[:, 3] >= 0) & (points[:, 3] <= 0.99)).all()
        distance = np.linalg.norm(points[:, :3], axis=1)
        assert distance.max() < 121 and distance.min() > 1
        elevation = np.degrees(np.arcsin(points[:, 2] / distance))
        gap = np.abs(elevation[:, None] - ELEVATIONS).min(1)
        assert gap.max() < 0.01  # every point lies on a beam
        assert (np.diff(elevation) < 0.01).all()  # beam by beam from the top


def test_labelled_objects_have_points_and_boxes_that_fit(frames):
    seen = 0
    for points, objects in frames:
        objects = objects[~objects.dont_care]
        counts = [len(part) for part in cut_out(points, boxes_of(objects))]
        assert min(counts, default=4) >= 3  # 4 hits; noise may carry one out
        seen += len(counts)
        assert ((objects.truncated >= 0) & (objects.truncated <= 0.9)).all()
        assert np.isin(objects.occluded, [0, 1, 2, 3]).all()
        assert ((objects.image_boxes >= 0) & (objects.image_boxes <= [1241, 374, 1241, 374])).all()
    assert seen > 100


def test_boxes_are_tight(frames):
    """Objects that are seen well reach to the sides of their boxes."""
    for name, least in (("Car", 0.8), ("Pedestrian", 0.75), ("Cyclist", 0.75)):
        heights = []
        for points, objects in frames:
            clear = (objects.type == name) & (objects.occluded == 0) & (objects.truncated == 0)
            boxes = boxes_of(objects[np.flatnonzero(clear)])
            heights += [part[:, 2].max() / box[5] for part, box in zip(cut_out(points, boxes), boxes) if len(part) > 60]
        assert len(heights) >= 3 and np.median(heights) > least


def test_objects_do_not_overlap(frames):
    from structkd.datasets.points.collisions import overlaps

    for _, objects in frames:
        boxes = boxes_of(objects[~objects.dont_care])
        assert overlaps(boxes, boxes).sum() == len(boxes)


def test_occlusion_means_that_something_stands_before():
    """A wall from the ground up to half a car's height, 2 m before it."""
    from structkd.datasets.points.simulator.labels import label

    car = Instance("Car", 0, (20.0, 0.0, -1.65), (3.9, 1.6, 1.5))
    levels, rays = [], full_turn()
    for height in (0.01, 0.75, 1.35):
        wall = Instance("building", 0, (16.0, 0.0, -1.65), (0.2, 8.0, height))
        owner = cast(build([car, wall]), rays).owner
        met = np.array([(owner == 0).sum()])
        levels.append(label([car], (0.0, 0.0), met, met, CALIBRATION, (1242, 375)).occluded[0])
    assert levels[0] == 0 and levels[0] < levels[1] <= levels[2] and levels[2] >= 2


def test_what_is_hardly_seen_is_dont_care():
    from structkd.datasets.points.simulator.labels import label

    car = Instance("Car", 0, (20.0, 0.0, -1.65), (3.9, 1.6, 1.5))
    behind = Instance("Car", 0, (-20.0, 0.0, -1.65), (3.9, 1.6, 1.5))
    few, many = np.array([2, 2]), np.array([200, 200])
    hidden = label([car, behind], (0.0, 0.0), few, few, CALIBRATION, (1242, 375))
    assert hidden.type.tolist() == ["DontCare"] and hidden.rows[0, 7:10].tolist() == [-1, -1, -1]
    shown = label([car, behind], (0.0, 0.0), many, many, CALIBRATION, (1242, 375))
    assert shown.type.tolist() == ["Car"] and shown.truncated[0] == 0
    assert len(label([], (0.0, 0.0), few[:0], few[:0], CALIBRATION, (1242, 375))) == 0


def test_casting_by_hand():
    box = Instance("building", 0, (10.0, 0.0, -5.0), (2.0, 40.0, 10.0), paint=1.0)
    rays = full_turn()
    hits = cast(build([box]), rays)
    ahead = np.abs(rays.azimuth) < 0.5
    expected = 9 / rays.directions[ahead, 0]
    assert hits.distance[ahead] == pytest.approx(expected, rel=1e-4)
    assert hits.cosine[ahead] == pytest.approx(rays.directions[ahead, 0], rel=1e-3)
    assert (hits.owner[ahead] == 0).all() and np.isinf(hits.distance[np.abs(rays.azimuth) > 2]).all()
    assert (hits.owner[np.abs(rays.azimuth) > 2] == -1).all()


def test_instances_are_placed_turned_and_sheared():
    world = build([Instance("Car", 3, (5.0, 2.0, -1.0), (4.0, 2.0, 1.5), np.pi / 2)], slope=(0.1, 0.0))
    low, high = world.vertices.min(0), world.vertices.max(0)
    assert low[:2] == pytest.approx([4, 0], abs=1e-4) and high[:2] == pytest.approx([6, 4], abs=1e-4)
    flat = world.vertices[:, 2] - 0.1 * world.vertices[:, 0]
    assert flat.min() == pytest.approx(-1, abs=1e-4) and flat.max() == pytest.approx(0.5, abs=1e-4)


def test_all_round():
    points, _ = Simulation(counts=FEW, full=True).frame(0)
    azimuth = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
    assert len(points) > 80_000 and np.histogram(azimuth, 36, (-180, 180))[0].min() > 500


def test_counts():
    assert len(Simulation(counts=dict.fromkeys(FEW, 0)).frame(0)[1]) == 0
    only = [Simulation(counts={"Cyclist": 4.0}).frame(i)[1] for i in range(5)]
    assert {name for objects in only for name in objects.type.tolist()} <= {"Cyclist", "DontCare"}
    assert sum(map(len, only)) > 8
