"""Tiny detectors and scenes for them."""

import numpy as np
import pytest
import torch

from structkd.datasets.points.frame import Frame
from structkd.datasets.points.scenes import Scenes
from structkd.models.points import SECOND, PointPillars

SIZES = np.array([[3.9, 1.6, 1.56], [0.8, 0.6, 1.73], [1.76, 0.6, 1.73]])
AREA = dict(point_range=(0, -10.24, -3, 20.48, 10.24, 1))
PILLARS = dict(
    **AREA, voxel_size=(0.32, 0.32, 4), pillar_channels=16, layer_nums=(1, 1), strides=(1, 2), channels=(16, 32),
    neck_strides=(1, 2), neck_channels=(16, 16),
)  # fmt: skip
VOXELS = dict(
    **AREA, voxel_size=(0.08, 0.08, 0.1), encoder_channels=((4,), (8,), (8,), (8,)), encoder_out_channels=16,
    layer_nums=(1, 1), channels=(16, 32), neck_channels=(16, 16),
)  # fmt: skip


def _frame(boxes, labels, background=300, columns=4, seed=0):
    """Ground, and 80 points within each box."""
    random = np.random.default_rng(seed)
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 7 if len(boxes) == 0 else len(boxes[0]))
    ground = random.uniform((0.1, -10, -1.75), (20.4, 10, -1.65), (background, 3))
    parts = [ground]
    for x, y, z, length, width, height, yaw in boxes[:, :7]:
        inside = random.uniform(-0.5, 0.5, (80, 3)) * (length, width, height) + (0, 0, height / 2)
        turn = np.array([[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        parts.append(inside @ turn + (x, y, z))
    points = np.concatenate(parts)
    others = random.uniform(0, 1, (len(points), columns - 3))
    points = np.concatenate([points, others], 1).astype(np.float32)
    return Frame(points=points, boxes=boxes, labels=np.asarray(labels, dtype=np.int64), frame_id=str(seed))


def _random_frame(seed, objects=4, **options):
    """Objects on a coarse grid of places, so that they do not overlap."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, objects)
    place = random.permutation(9)[:objects]
    boxes = np.zeros((objects, 7))
    boxes[:, 0], boxes[:, 1], boxes[:, 2] = 4 + 6 * (place // 3), -6 + 6 * (place % 3), -1.7
    boxes[:, 3:6], boxes[:, 6] = SIZES[labels], random.uniform(-3, 3, objects)
    return _frame(boxes, labels, seed=seed, **options)


@pytest.fixture(scope="session")
def frame():
    return _frame


@pytest.fixture(scope="session")
def scenes():
    """Two frames with four objects each."""
    return Scenes.from_frames([_random_frame(1), _random_frame(2)])


@pytest.fixture(scope="session")
def random_frame():
    return _random_frame


@pytest.fixture(params=["pointpillars", "second"])
def make(request):
    """Builds either detector, tiny; keywords go to it."""
    kind, defaults = {"pointpillars": (PointPillars, PILLARS), "second": (SECOND, VOXELS)}[request.param]
    return lambda **options: kind(**{**defaults, **options})


@pytest.fixture
def pointpillars():
    return lambda **options: PointPillars(**{**PILLARS, **options})


@pytest.fixture
def train():
    def run(model, scenes, steps, rate=1e-2):
        """Overfits; batch norm forgets faster, so that its running statistics are those of these scenes."""
        for module in model.modules():
            if hasattr(module, "momentum"):
                module.momentum = 0.2
        optimizer = torch.optim.AdamW(model.parameters(), rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
        totals = []
        for _ in range(steps):
            loss = sum(model(scenes).loss(scenes.boxes, scenes.labels, scenes.boxes_batch).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            totals.append(float(loss.detach()))
        model.eval()
        return totals

    return run
