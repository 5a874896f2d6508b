"""The detectors that KITTI's tests leave out: nuScenes' PointPillars, CenterPoint and 3DSSD, on made-up scenes."""

import copy

import pytest
import torch

from structkd.engine.openmmlab import read_config

NAMES = {
    "pointpillars_to_pointpillars_4x_nuscenes.py": {"loss/neck.correlation", "loss/head.score", "loss/head.box"},
    "centerpoint_to_centerpoint_4x_nuscenes.py": {"loss/neck.hint", "loss/head.score"},
    "3dssd_to_3dssd_4x_kitti.py": {"loss/hint.hint", "loss/edges.edge"},
}


def scenes(columns, box_dim, count=2):
    """A raw batch: points all over the range, and in each scene one object of class 0 full of points."""
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes, PointData
    from mmengine.structures import InstanceData

    generator = torch.Generator().manual_seed(0)
    points, samples = [], []
    for _ in range(count):
        cloud = torch.rand(400, columns, generator=generator)
        cloud[:, :3] = cloud[:, :3] * torch.tensor([19.0, 12.0, 3.0]) + torch.tensor([0.0, -6.0, -2.5])
        cloud[:100, :3] = torch.rand(100, 3, generator=generator) * torch.tensor([4.0, 1.6, 1.5])
        cloud[:100, :3] += torch.tensor([8.0, -0.8, -1.7])
        boxes = torch.tensor([[10.0, 0.0, -1.7, 4.0, 1.6, 1.5, 0.0, 0.5, 0.0]])[:, :box_dim]
        objects = LiDARInstance3DBoxes(boxes, box_dim=box_dim)
        sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes, box_mode_3d=0))
        sample.gt_instances_3d = InstanceData(bboxes_3d=objects, labels_3d=torch.zeros(1, dtype=torch.long))
        sample.gt_pts_seg = PointData()
        points.append(cloud)
        samples.append(sample)
    return dict(inputs=dict(points=points), data_samples=samples)


@pytest.mark.parametrize("name", NAMES)
def test_distils_and_predicts(name, small_detector, stack, tmp_path, config_folder):
    from structkd.engine.openmmlab.detector import DistilledDetector, built

    model = dict(read_config(config_folder / name).model)
    model.pop("type")
    model["teacher"] = small_detector(model["teacher"])
    torch.save(built(model["teacher"]).state_dict(), tmp_path / "teacher.pth")
    task = DistilledDetector(**model | dict(teacher_checkpoint=str(tmp_path / "teacher.pth")))
    task.init_weights()
    task.train()
    batch = scenes(4, 7) if "3dssd" in name else scenes(5 if "centerpoint" in name else 4, 9)
    before = [value.clone() for value in task.teachers["teacher"].model.state_dict().values()]
    losses = task(**task.data_preprocessor(copy.deepcopy(batch), True), mode="loss")
    total, log = task.parse_losses(losses)
    total.backward()
    assert losses.keys() >= NAMES[name] and torch.isfinite(total) and len(log) > len(NAMES[name])
    assert all(p.grad is not None for p in task.student.parameters() if p.requires_grad)
    after = task.teachers["teacher"].model.state_dict().values()
    assert all(torch.equal(*pair) for pair in zip(before, after))
    task.eval()
    with torch.no_grad():
        found = task.val_step(batch)
    assert len(found) == 2 and all("bboxes_3d" in sample.pred_instances_3d for sample in found)
