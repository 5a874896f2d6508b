import numpy as np
import pytest

from structkd.evaluation.kitti.curves import average, envelope, recall_thresholds


@pytest.mark.parametrize("num_objects", [1, 2, 7, 39, 40, 41, 42, 80, 81, 200, 1234])
@pytest.mark.parametrize("found", [0.0, 0.3, 0.77, 1.0])
def test_thresholds_agree_with_the_walk(num_objects, found, reference):
    scores = np.random.default_rng(num_objects).random(round(found * num_objects)).round(2)
    thresholds = recall_thresholds(scores, num_objects)
    assert thresholds.tolist() == reference.thresholds_of(scores.tolist(), num_objects)
    assert len(thresholds) <= 41
    if found == 1 and num_objects > 40:
        assert len(thresholds) == 41


def test_envelope_looks_ahead_and_fills_with_zeros():
    curve = envelope(np.array([0.5, 0.2, 0.9, 0.1]))
    assert curve[:5].tolist() == [0.9, 0.9, 0.9, 0.1, 0]
    assert curve.shape == (41,) and not curve[4:].any()


def test_average():
    curve = np.zeros(41)
    curve[0] = 1
    assert average(curve, 40) == 0 and average(curve, 11) == pytest.approx(100 / 11)
    assert average(np.ones(41), 40) == average(np.ones(41), 11) == 100
