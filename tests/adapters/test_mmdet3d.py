"""MMDet3DAdapter: rows, maps and heads of mmdet3d's detectors, with the layouts of mmdet3d's own modules."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from structkd.adapters import MMDet3DAdapter
from structkd.adapters.mmdet3d_elements import read_elements
from structkd.adapters.mmdet3d_heads import head_maps, kept
from structkd.errors import WiringError


class Anchor3DHead(nn.Module):
    box_code_size = 7


class CenterHead(nn.Module):
    pass


class PointRPNHead(nn.Module):
    pass


class Voxels(nn.Module):
    """A detector's shell: 2 x 3 x 4 cells of half a metre, from (0, -1, -3) on."""

    def __init__(self):
        super().__init__()
        self.voxel_encoder, self.middle_encoder, self.backbone, self.neck = (nn.Identity() for _ in range(4))
        self.bbox_head = Anchor3DHead()
        layer = SimpleNamespace(point_cloud_range=[0, -1, -3, 2, 0.5, -2], voxel_size=[0.5, 0.5, 0.5])
        self.data_preprocessor = SimpleNamespace(voxel_layer=layer)


COORDS = torch.tensor([[0, 0, 0, 0], [0, 1, 2, 3], [1, 0, 1, 2]])


def test_rows_of_voxels():
    x = torch.arange(6.0).view(3, 2)
    inputs = dict(voxels=dict(coors=COORDS, num_points=torch.tensor([3, 1, 2])))
    found = read_elements(x, Voxels(), inputs, "voxel_encoder")
    assert torch.equal(found["x"], x) and found["batch"].tolist() == [0, 0, 1]
    assert found["n_id"].tolist() == [0, 12 + 8 + 3, 24 + 4 + 2]
    assert found["pos"].tolist() == [[0.25, -0.75, -2.75], [1.75, 0.25, -2.25], [1.25, -0.25, -2.75]]
    assert found["importance"].tolist() == [3.0, 1.0, 2.0]


def test_dynamic_voxels_are_counted():
    """A point beyond the range has coordinates -1 and counts nowhere."""
    points = torch.tensor([[0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 0, 0], [0, -1, -1, -1], [1, 0, 1, 2]])
    inputs = dict(voxels=dict(coors=points))
    found = read_elements((torch.zeros(3, 2), COORDS), Voxels(), inputs, "voxel_encoder")
    assert found["importance"].tolist() == [2.0, 1.0, 1.0]


def test_sparse_tensors_come_in_the_order_of_cells():
    tensor = SimpleNamespace(
        features=torch.tensor([[1.0], [2.0], [3.0]]), indices=COORDS[[2, 0, 1]].int(), spatial_shape=[2, 3, 4]
    )
    found = read_elements(tensor, Voxels(), {}, "middle_encoder.conv")
    assert found["x"].flatten().tolist() == [2.0, 3.0, 1.0]
    assert found["pos"][1].tolist() == [1.75, 0.25, -2.25]
    half = SimpleNamespace(features=torch.zeros(1, 1), indices=torch.tensor([[0, 0, 0, 1]]), spatial_shape=[1, 1, 2])
    assert read_elements(half, Voxels(), {}, "x")["pos"].tolist() == [[1.5, -0.25, -2.5]]


def test_points_of_necks_and_set_abstractions():
    places, features = torch.rand(2, 5, 3), torch.rand(2, 4, 5)
    neck = read_elements(dict(fp_xyz=places, fp_features=features), Voxels(), {}, "neck")
    assert torch.equal(neck["x"][7], features[1, :, 2]) and torch.equal(neck["pos"][7], places[1, 2])
    assert neck["batch"].tolist() == [0] * 5 + [1] * 5 and neck["n_id"].unique().numel() == 10
    index = torch.tensor([[4, 3, 2, 1, 0]] * 2)
    sampled = read_elements((places, features, index), Voxels(), {}, "backbone.SA_modules.0")
    assert not torch.equal(sampled["n_id"], neck["n_id"]) and torch.equal(sampled["x"], neck["x"])


def test_other_outputs_are_no_elements():
    with pytest.raises(WiringError, match=r"neck of Voxels gives \(1, 2, 3, 4\), which is no set of elements"):
        read_elements(torch.zeros(1, 2, 3, 4), Voxels(), dict(voxels=dict(coors=COORDS)), "neck")
    with pytest.raises(WiringError, match="gives 2 rows for 3 voxels"):
        read_elements(torch.zeros(2, 4), Voxels(), dict(voxels=dict(coors=COORDS)), "voxel_encoder")


def test_anchor_heads():
    """Channel a K + k of the scores is class k of anchor a; channel a D + d of the boxes column d."""
    scores, boxes = torch.rand(2, 4 * 3, 5, 6), torch.rand(2, 4 * 7, 5, 6)
    found = head_maps(Anchor3DHead(), ([scores], [boxes], [torch.rand(2, 8, 5, 6)]))
    assert found["logits"].shape == (2, 4, 3, 5, 6) and found["box_map"].shape == (2, 4, 7, 5, 6)
    assert torch.equal(found["logits"][:, 2, 1], scores[:, 2 * 3 + 1])
    assert torch.equal(found["box_map"][:, 3, 5], boxes[:, 3 * 7 + 5])


def task(classes, **extra):
    sizes = dict(reg=2, height=1, dim=3, rot=2, heatmap=classes, **extra)
    return {name: torch.rand(2, size, 5, 6) for name, size in sizes.items()}


def test_center_heads():
    one, two = task(1, vel=2), task(2, vel=2)
    found = head_maps(CenterHead(), ([one], [two]))
    assert found.keys() == {"logits"} and torch.equal(found["logits"][:, 0, 2], two["heatmap"][:, 1])
    single = head_maps(CenterHead(), ([one],))
    assert single["box_map"].shape == (2, 1, 10, 5, 6) and torch.equal(single["box_map"][:, 0, 3:6], one["dim"])
    copy, before = kept(CenterHead(), ([one],)), one["heatmap"].clone()
    one["heatmap"].sigmoid_()  # as the head's own loss does
    assert torch.equal(copy[0][0]["heatmap"], before) and torch.equal(single["logits"][:, 0], before)


def test_point_heads():
    boxes, scores = torch.rand(2, 9, 8), torch.rand(2, 9, 3)
    found = head_maps(PointRPNHead(), (boxes, scores))
    assert found["logits"].shape == (2, 1, 3, 9, 1) and found["box_map"].shape == (2, 1, 8, 9, 1)
    assert torch.equal(found["logits"][1, 0, :, 4, 0], scores[1, 4])


def test_a_head_of_another_form_is_said():
    with pytest.raises(WiringError, match="output of Anchor3DHead is not that of"):
        head_maps(Anchor3DHead(), torch.rand(3))


def test_what_is_provided_is_known_at_once():
    adapter = MMDet3DAdapter("pillars", ["backbone_1", "neck"], head=True, taps=dict(deep="backbone"))
    assert adapter.provides >= {"x", "pos", "batch", "n_id", "importance", "backbone_1", "neck", "logits", "deep"}
    assert "importance" not in MMDet3DAdapter("points").provides
    assert MMDet3DAdapter().provides == {"detection", "boxes", "labels", "boxes_batch"}


def test_parts_are_checked():
    MMDet3DAdapter("voxels", ["canvas", "backbone_0", "neck"], head=True).check(Voxels())
    with pytest.raises(WiringError, match="'bck' is no map"):
        MMDet3DAdapter(maps=["bck"])
    with pytest.raises(WiringError, match=r"points at 'backbone\.deep'"):
        MMDet3DAdapter(taps=dict(deep="backbone.deep")).check(Voxels())
    model = Voxels()
    model.bbox_head = nn.Identity()
    with pytest.raises(WiringError, match=r"must be of Anchor3DHead, CenterHead, PointRPNHead; this is a Identity"):
        MMDet3DAdapter(head=True).check(model)


def test_parts_with_a_prefix_are_found():
    """Detectors for several sensors call their LiDAR parts pts_backbone and so on."""
    model = nn.Module()
    model.pts_voxel_encoder, model.pts_backbone = nn.Identity(), nn.Identity()
    MMDet3DAdapter("pillars", ["backbone_0"]).check(model)
    with pytest.raises(WiringError, match="'neck' points at 'neck'"):
        MMDet3DAdapter(maps=["neck"]).check(model)
