import numpy as np
import pytest

from structkd.datasets import KittiFrames, simulated_kitti
from structkd.datasets.points.simulator import MEASURED, report, statistics

pytestmark = pytest.mark.usefixtures("open3d")


def test_statistics_are_near_those_of_kitti(tmp_path):
    frames = KittiFrames(simulated_kitti(tmp_path, 60, 0, show_progress=False), "train")
    found = statistics(frames)
    text = report(found)
    # Cyclists are more frequent on purpose, so that a small set teaches them; the rest of a few objects is chance.
    loose = {"Cyclist a frame", "Van a frame", "Truck a frame"}
    far = {
        name: (found[name], value)
        for name, value in MEASURED.items()
        if name not in loose and not abs(found[name] / value - 1) < (0.45 if "%" in name else 0.35)
    }
    assert not far, text
    assert found["Cyclist a frame"] > 0.5 and all(name in text for name in MEASURED)
    assert np.isfinite(list(found.values())).all()


def test_statistics_by_hand(kitti_root):
    found = statistics(KittiFrames(kitti_root, camera_view=False))
    assert found["points a frame"] == (280 + 320) / 2
    assert found["Car a frame"] == 1 and found["Pedestrian a frame"] == 0.5 and found["Truck a frame"] == 0
    assert (
        found["Car points"] == 40
        and found["Car length"] == pytest.approx(3.9)
        and np.isnan(found["Truck a frame"]) == 0
    )
    first, second = np.hypot(15, 6), np.hypot(15, 6)
    assert found["Car distance"] == pytest.approx((first + second) / 2, abs=1e-3)
    assert found["Car n*r^2"] == pytest.approx(40 * first**2, rel=1e-3) and found["Car not occluded"] == 1
