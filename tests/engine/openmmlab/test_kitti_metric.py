"""Our metric in mmdet3d's place: its arguments, its names, its figures."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from structkd.datasets import KittiFrames
from structkd.engine.openmmlab.kitti_metric import KittiMetric
from structkd.errors import ConfigError, DataError

CLASSES = ("Pedestrian", "Car")


@pytest.fixture(scope="module")
def infos(tiny_kitti, tmp_path_factory):
    """The info file of all six frames."""
    import shutil

    from structkd.datasets.points.prepare import write_infos

    root = tmp_path_factory.mktemp("infos") / "kitti"
    shutil.copytree(tiny_kitti, root)
    (root / "ImageSets" / "every.txt").write_text("".join(f"{i:06d}\n" for i in range(6)))
    return write_infos(root, "every", show_progress=False)


def samples(infos, shift=0.0, names=True):
    """What a detector would give that finds every labelled box, `shift` metres off, as the evaluator hands it on."""
    frames = KittiFrames(infos.parent, classes=CLASSES, infos=infos)
    found = []
    for index in range(len(frames)):
        frame = frames[index]
        boxes = torch.from_numpy(frame.boxes) + torch.tensor([shift, 0, 0, 0, 0, 0, 0])
        instances = dict(
            bboxes_3d=SimpleNamespace(tensor=boxes),
            scores_3d=torch.linspace(0.9, 0.5, len(boxes)),
            labels_3d=torch.from_numpy(frame.labels),
        )
        sample = dict(pred_instances_3d=instances, sample_idx=index)
        found.append(sample | (dict(lidar_path=f"x/{frame.frame_id}.bin") if names else {}))
    return found


def figures(infos, given, **arguments):
    metric = KittiMetric(ann_file=str(infos), **arguments)
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, given)
    return metric.evaluate(len(given))


def test_labels_as_detections_are_perfect_up_to_their_number(infos):
    found = figures(infos, samples(infos))
    key = "Kitti metric/pred_instances_3d/KITTI/{}_3D_AP40_moderate_strict"
    # Six objects of a class: thresholds at six recalls, so 5 of 40 samples after the first are reached.
    assert found[key.format("Car")] == found[key.format("Pedestrian")] == pytest.approx(100 * 5 / 40)
    assert found["Kitti metric/pred_instances_3d/KITTI/Overall_3D_AP40_moderate"] == pytest.approx(12.5)
    assert figures(infos, samples(infos, shift=5.0))[key.format("Car")] == 0


def test_a_part_of_a_dataset_is_matched_by_the_name_of_the_scan(infos):
    given = samples(infos)[3:]
    for position, sample in enumerate(given):
        sample["sample_idx"] = position  # a part counts from 0 again
    key = "Kitti metric/pred_instances_3d/KITTI/Car_3D_AP40_moderate_strict"
    assert figures(infos, given)[key] == pytest.approx(100 * 2 / 40)


def test_empty_frames_and_results_as_files(infos, tmp_path):
    given = samples(infos, names=False)
    instances = given[0]["pred_instances_3d"]
    instances["bboxes_3d"] = SimpleNamespace(tensor=torch.zeros(0, 7))
    instances["scores_3d"], instances["labels_3d"] = torch.zeros(0), torch.zeros(0, dtype=torch.long)
    assert figures(infos, given, format_only=True, submission_prefix=str(tmp_path)) == {}
    files = sorted((tmp_path / "pred_instances_3d").glob("*.txt"))
    assert [len(path.read_text().splitlines()) for path in files] == [0, 2, 2, 2, 2, 2]


def test_what_it_does_not_do_is_said(infos):
    with pytest.raises(ConfigError, match="only 'bbox'"):
        KittiMetric(ann_file="a", metric=["bbox", "img_bbox"])
    with pytest.raises(ConfigError, match="CAM2"):
        KittiMetric(ann_file="a", default_cam_key="CAM3")
    with pytest.raises(ConfigError, match="submission_prefix"):
        KittiMetric(ann_file="a", format_only=True)
    given = samples(infos, names=False)
    given[0]["sample_idx"] = 77
    with pytest.raises(DataError, match="has 6 frames; there are detections of frame 77"):
        figures(infos, given)


def test_figures_are_mmdet3ds(infos, stack, monkeypatch):
    """The same detections through mmdet3d's own metric: the same names and, to a hundredth, the same numbers."""
    from mmdet3d.evaluation.functional.kitti_utils import eval as kitti_eval
    from mmdet3d.evaluation.metrics import KittiMetric as Theirs
    from mmdet3d.structures import LiDARInstance3DBoxes
    from mmengine.structures import InstanceData

    for name, function in list(vars(kitti_eval).items()):  # as plain Python: compiling takes longer than running
        if hasattr(function, "py_func"):
            monkeypatch.setattr(kitti_eval, name, function.py_func)
    given = samples(infos, shift=0.12)
    own = figures(infos, given)
    theirs = Theirs(ann_file=str(infos))
    theirs.dataset_meta = dict(classes=list(CLASSES))
    for sample in given:
        found = sample["pred_instances_3d"]
        found["bboxes_3d"] = LiDARInstance3DBoxes(found["bboxes_3d"].tensor)
        theirs.process(
            {}, [dict(pred_instances_3d=found, pred_instances=InstanceData(), sample_idx=sample["sample_idx"])]
        )
    expected = theirs.evaluate(len(given))
    assert own.keys() == expected.keys()
    assert np.allclose([own[key] for key in expected], list(expected.values()), atol=0.01)
    assert own["Kitti metric/pred_instances_3d/KITTI/Overall_BEV_AP40_moderate"] > 0
