"""Pictures of scenes: they are drawn, hold what they should, and say what is wrong with their input."""

import sys

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.testing import assert_allclose

from structkd.datasets.points import KittiFrames
from structkd.datasets.points.boxes import camera_corners, project
from structkd.errors import ConfigError, DataError
from structkd.visualization import canvas, scene_3d
from structkd.visualization.camera import box_edges, clip_behind, plot_camera, read_image
from structkd.visualization.cells import carriers, plot_cells
from structkd.visualization.frames import kitti_boxes, plot_frame
from structkd.visualization.scene_3d import plot_scene_3d, render_open3d
from structkd.visualization.scene_boxes import SceneBoxes, class_colour
from structkd.visualization.scenes import plot_birds_eye
from structkd.visualization.style import CLASS_COLOURS

CLASSES = ("Car", "Pedestrian", "Cyclist")


@pytest.fixture
def frame(tiny_kitti):
    return KittiFrames(tiny_kitti, "train")[0]


@pytest.fixture
def figures(monkeypatch):
    """Keeps the figures that are drawn."""
    kept, blank = [], canvas.blank

    def keep(*size):
        kept.append(blank(*size))
        return kept[-1]

    for name in ("scenes", "camera", "cells", "scene_3d", "detection_curves"):
        module = __import__(f"structkd.visualization.{name}", fromlist=["blank"])
        monkeypatch.setattr(module, "blank", keep)
    return kept


def panel(frame, title, score=0.9):
    return SceneBoxes(title, frame.boxes, frame.labels, np.full(len(frame.boxes), score))


def panels_of(figure):
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def not_white(path):
    image = imread(path)[..., :3]
    return float((image < 0.99).any(-1).mean())


def test_birds_eye(frame, tmp_path, figures):
    labels = SceneBoxes("labels", frame.boxes, frame.labels)
    shown = [panel(frame, name) for name in ("teacher", "student", "distilled student")]
    path = plot_birds_eye(tmp_path / "new" / "bev.png", frame.points, shown, CLASSES, labels)
    assert not_white(path) > 0.01
    axes = panels_of(figures[0])
    assert [one.get_title() for one in axes] == [f"{each.title} (2 boxes)" for each in shown]
    for one in axes:
        assert one.get_aspect() == 1 and one.get_xlim()[0] > one.get_xlim()[1]  # y grows to the left
        texts = [text.get_text() for text in one.texts]
        assert texts == [".90", ".90"]
        outlines = [c for c in one.collections if hasattr(c, "get_segments")]
        assert len(outlines) == 4  # outlines and headings, of labels and of detections
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["Car", "Pedestrian", "labelled"]


def test_birds_eye_draws_boxes_where_they_are(tmp_path, figures):
    boxes = np.array([[10.0, 4, -1, 4, 2, 1.5, np.pi / 2]])
    shown = SceneBoxes("labels", boxes, np.array([0]))
    plot_birds_eye(tmp_path / "a.png", np.zeros((0, 4)), [shown], CLASSES)
    axes = panels_of(figures[0])[0]
    outline, heading = (c.get_segments()[0] for c in axes.collections if hasattr(c, "get_segments"))
    assert_allclose(outline.min(0), [2, 9], atol=1e-9)  # (y, x): 4 m along y, 2 m along x
    assert_allclose(outline.max(0), [6, 11], atol=1e-9)
    assert_allclose(heading, [[4, 10], [6, 10]], atol=1e-9)
    plot_birds_eye(tmp_path / "b.png", np.zeros((0, 4)), [shown], CLASSES, ahead="y", colour="reflectance")
    axes = panels_of(figures[1])[0]
    outline = next(c.get_segments()[0] for c in axes.collections if hasattr(c, "get_segments"))
    assert_allclose([outline.min(0), outline.max(0)], [[9, 2], [11, 6]], atol=1e-9)
    assert axes.get_xlim()[0] < axes.get_xlim()[1] and axes.get_ylabel() == "y ahead, m"


def test_many_classes_have_room_in_the_legend(tmp_path, figures):
    names = [f"construction_vehicle_{i}" for i in range(10)]
    boxes = np.tile([5.0, 0, 0, 4, 2, 1.5, 0], (10, 1))
    plot_birds_eye(tmp_path / "a.png", np.zeros((0, 4)), [SceneBoxes("x", boxes, np.arange(10))], names)
    (legend,) = figures[0].legends
    box = legend.get_window_extent()
    assert len(legend.get_texts()) == 10 and box.x0 >= 0 and box.x1 <= figures[0].bbox.x1


def test_nothing_to_draw(tmp_path):
    empty = SceneBoxes("teacher", np.empty((0, 7)), np.empty(0, np.int64), np.empty(0))
    points = np.empty((0, 4))
    assert plot_birds_eye(tmp_path / "a.png", points, [], CLASSES).stat().st_size > 1000
    assert plot_birds_eye(tmp_path / "b.png", points, [empty], CLASSES, empty).stat().st_size > 1000
    assert plot_scene_3d(tmp_path / "c.png", points, [empty], CLASSES, renderer="matplotlib") == "matplotlib"


def test_boxes_are_checked(tmp_path):
    with pytest.raises(DataError, match=r"'t' got boxes \(2, 6\)"):
        SceneBoxes("t", np.zeros((2, 6)), np.zeros(2))
    with pytest.raises(DataError, match="scores"):
        SceneBoxes("t", np.zeros((2, 7)), np.zeros(2), np.zeros(3))
    with pytest.raises(DataError, match="not finite"):
        SceneBoxes("t", np.full((1, 7), np.nan), np.zeros(1))
    wrong = SceneBoxes("teacher", np.ones((1, 7)), np.array([3]))
    for draw in (
        lambda: plot_birds_eye(tmp_path / "a.png", np.zeros((0, 4)), [wrong], CLASSES),
        lambda: plot_scene_3d(tmp_path / "a.png", np.zeros((0, 4)), [wrong], CLASSES),
    ):
        with pytest.raises(DataError, match="'teacher' has labels from 3 to 3 for 3 classes"):
            draw()
    with pytest.raises(ConfigError, match="colour is 'depth'"):
        plot_birds_eye(tmp_path / "a.png", np.zeros((0, 4)), [], CLASSES, colour="depth")
    with pytest.raises(ConfigError, match="renderer is 'x'"):
        plot_scene_3d(tmp_path / "a.png", np.zeros((0, 4)), [], CLASSES, renderer="x")
    assert class_colour(0) != class_colour(1) and len(set(CLASS_COLOURS)) == 10


def test_predictions_as_boxes():
    torch = pytest.importorskip("torch")
    found = dict(
        boxes=torch.ones(3, 7, requires_grad=True), scores=torch.tensor([0.1, 0.5, 0.9]), labels=torch.arange(3)
    )
    kept = SceneBoxes.of("student", found).above(0.5)
    assert kept.labels.tolist() == [1, 2] and len(SceneBoxes("x", kept.boxes, kept.labels).above(0.99)) == 2


def test_edges_in_the_picture(frame):
    from structkd.datasets.points.boxes import boxes_to_camera

    pixels, visible = box_edges(frame.boxes, frame.calibration)
    assert visible.all()
    camera = boxes_to_camera(frame.boxes.astype(np.float64), frame.calibration.lidar_to_camera)
    corners, _ = project(camera_corners(camera), frame.calibration.projection)
    assert_allclose(pixels[:, 0], corners[:, :2])
    behind = frame.boxes.copy()
    behind[0, 0] = -20
    behind[1, :3] = 0, 0, -1  # around the camera
    pixels, visible = box_edges(behind, frame.calibration)
    assert not visible[0].any() and visible[1].any() and np.isfinite(pixels[1][visible[1]]).all()
    ends, ahead = clip_behind(np.array([[[0, 0, -1.0], [0, 2, 1.0]], [[0, 0, -1], [0, 0, -2]]]), near=0.5)
    assert ahead.tolist() == [True, False]
    assert_allclose(ends[0], [[0, 1.5, 0.5], [0, 2, 1]])


def test_camera(frame, tmp_path, figures):
    picture = np.full((375, 1242, 3), 80, np.uint8)
    labels = SceneBoxes("labels", frame.boxes, frame.labels)
    shown = [panel(frame, "teacher"), panel(frame, "student")]
    path = plot_camera(tmp_path / "camera.png", picture, frame.calibration, shown, CLASSES, labels)
    assert [axes.get_title(loc="left") for axes in figures[0].axes] == ["teacher", "student"]
    colours = imread(path)[..., :3].reshape(-1, 3)
    blue = np.array([0x25, 0x63, 0xEB]) / 255
    assert (np.abs(colours - blue).max(1) < 0.05).sum() > 50
    with pytest.raises(DataError, match="There is no picture"):
        read_image(tmp_path / "no.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="is no readable picture"):
        read_image(tmp_path / "bad.png")


def test_cells(tmp_path, figures):
    pos = np.array([[0.5, 0.5], [1.5, 0.5], [3.5, 2.5]])
    weights = {"published": np.array([0.0, 3, 0]), "working": np.array([1.0, 1, 1])}
    plot_cells(tmp_path / "cells.png", pos, weights, (1, 1), SceneBoxes("l", np.ones((1, 7)), np.zeros(1, int)))
    first, second = panels_of(figures[0])
    assert "1 of 3 cells carry 95% of the weight" in first.get_title() and "3 of 3" in second.get_title()
    base, top = (np.ma.filled(image.get_array().astype(float), np.nan) for image in first.images)
    assert top.shape == (4, 3) and np.isfinite(base).sum() == 3
    assert np.isfinite(top).sum() == 1 and top[1, 0] == 3
    assert first.images[0].get_extent() == [0, 3, 0, 4]
    assert carriers(np.array([])) == 0 and carriers(np.zeros(3)) == 0 and carriers(np.array([1.0, 8, 1])) == 3
    plot_cells(tmp_path / "none.png", np.empty((0, 2)), {"a": np.empty(0)}, (1, 1))
    for arguments, match in (
        ((np.ones((3, 1)), weights, (1, 1)), "pos is"),
        ((pos, weights, (1, 0)), "cell_size is"),
        ((pos, {"a": np.ones(2)}, (1, 1)), r"weights 'a' are \(2,\) for 3 cells"),
        ((pos, {"a": -np.ones(3)}, (1, 1)), "negative"),
        ((pos, {}, (1, 1)), "no weights"),
    ):
        with pytest.raises(DataError, match=match):
            plot_cells(tmp_path / "x.png", *arguments)


def test_3d_without_a_renderer_says_so(frame, tmp_path, figures, monkeypatch):
    def broken(scenes):
        raise ConfigError("open3d cannot render here (Failed to load vulkan library!); apt install libvulkan1.")

    monkeypatch.setattr(scene_3d, "render_open3d", broken)
    labels = SceneBoxes("labels", frame.boxes, frame.labels)
    path = tmp_path / "3d.png"
    assert plot_scene_3d(path, frame.points, [panel(frame, "teacher")], CLASSES, labels) == "matplotlib"
    note = figures[0].get_suptitle()
    assert "drawn by matplotlib" in note and "vulkan" in note and not_white(path) > 0.01
    with pytest.raises(ConfigError, match="apt install"):
        plot_scene_3d(path, frame.points, [], CLASSES, labels, renderer="open3d")


def test_a_missing_library_is_named(monkeypatch):
    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("Failed to load vulkan library!")

    class Quiet:
        class utility:
            class VerbosityLevel:
                Error = 0

            class VerbosityContextManager:
                def __init__(self, level): ...
                def __enter__(self): ...
                def __exit__(self, *error): ...

        class visualization:
            rendering = Broken()

    monkeypatch.setattr(scene_3d, "import_open3d", lambda: Quiet)
    with pytest.raises(ConfigError, match=r"Failed to load vulkan library.*apt install libvulkan1 mesa-vulkan-drivers"):
        render_open3d([])


def test_both_renderers_draw_the_same_view(tmp_path, figures):
    """A box of points lands on the same pixels."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(0, 1, (4000, 3)) * (3, 3, 3) + (20, 4, -2), np.zeros((4000, 1))], 1)
    scene = scene_3d._points(points, "x"), []
    try:
        (picture,) = render_open3d([scene])
    except ConfigError as error:
        pytest.skip(str(error))
    rows, columns = np.nonzero((picture < 250).any(-1))
    plot_scene_3d(tmp_path / "a.png", points, [], CLASSES, renderer="matplotlib")
    (axes,) = figures[0].axes
    flat = next(c.get_offsets() for c in axes.collections if len(c.get_offsets()) == 4000)
    found = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
    assert_allclose([*flat.min(0), *flat.max(0)], found, atol=4)


def test_frame_pictures(tiny_kitti, frame, tmp_path):
    frames = KittiFrames(tiny_kitti, "train")
    found = kitti_boxes("labels", frames.annotations(0), frame.calibration, CLASSES)
    assert_allclose(found.boxes, frame.boxes)
    assert found.scores is None and found.labels.tolist() == frame.labels.tolist()
    paths = plot_frame(tmp_path, frame, [], CLASSES, renderer="matplotlib")
    assert [path.name for path in paths] == ["000000_bev.png", "000000_3d.png"]  # there is no picture
    with pytest.raises(ConfigError, match=r"no view 'bevs'\. Nearest: bev"):
        plot_frame(tmp_path, frame, [], CLASSES, ["bevs"])


def test_matplotlib_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match="pip install matplotlib"):
        canvas.blank(1, 1)


def test_3d_turns_frames_whose_y_points_ahead():
    place, _ = scene_3d._points(np.array([[2.0, 30, 1, 0]]), "y")  # 2 m to the right, 30 m ahead
    assert_allclose(place, [[30, -2, 1]])
    boxes = SceneBoxes("a", np.array([[2.0, 30, 1, 4, 2, 2, np.pi / 2]]), np.array([0]))
    ((segments, _, _),) = scene_3d._lines(boxes, None, "y")
    assert_allclose([segments.min((0, 1)), segments.max((0, 1))], [[28, -3, 1], [32, -1, 3]], atol=1e-9)
