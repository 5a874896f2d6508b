"""Students by a width factor."""

import copy

import pytest

from structkd.engine.openmmlab import narrowed
from structkd.errors import ConfigError

#: Shapes of mmdet3d's PointPillars; `type`s and channels are what the rules look at.
PILLARS = dict(
    type="VoxelNet",
    voxel_encoder=dict(type="PillarFeatureNet", in_channels=4, feat_channels=[64]),
    middle_encoder=dict(type="PointPillarsScatter", in_channels=64, output_shape=[496, 432]),
    backbone=dict(type="SECOND", in_channels=64, layer_nums=[3, 5, 5], out_channels=[64, 128, 256]),
    neck=dict(type="SECONDFPN", in_channels=[64, 128, 256], out_channels=[128, 128, 128]),
    bbox_head=dict(type="Anchor3DHead", num_classes=3, in_channels=384, feat_channels=384),
)
NAMES = {
    "pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py": (4.835, 1.217, 0.309),
    "second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py": (5.326, 1.343, 0.341),
}


def test_everything_between_input_and_output_is_scaled():
    before = copy.deepcopy(PILLARS)
    student = narrowed(PILLARS, 0.25)
    assert before == PILLARS
    assert student["voxel_encoder"] == dict(type="PillarFeatureNet", in_channels=4, feat_channels=[16])
    assert student["middle_encoder"]["in_channels"] == 16
    assert student["backbone"] | dict(layer_nums=[3, 5, 5], out_channels=[16, 32, 64]) == student["backbone"]
    assert (student["neck"]["in_channels"], student["neck"]["out_channels"]) == ([16, 32, 64], [32, 32, 32])
    assert student["bbox_head"] == dict(type="Anchor3DHead", num_classes=3, in_channels=96, feat_channels=96)


def test_sums_fit_after_rounding():
    student = narrowed(PILLARS, 1 / 3)
    assert student["neck"]["out_channels"] == [43, 43, 43]
    assert student["bbox_head"]["in_channels"] == 129  # and not round(384 / 3) = 128


def test_width_one_changes_nothing():
    assert narrowed(PILLARS, 1.0) == PILLARS


def test_what_is_unknown_is_said():
    with pytest.raises(ConfigError, match=r"model\.backbone is a SECON, .*SECOND"):
        narrowed(PILLARS | dict(backbone=dict(type="SECON")), 0.5)
    with pytest.raises(ConfigError, match="'img_backbone', which has no width rule"):
        narrowed(PILLARS | dict(img_backbone=dict(type="mmdet.ResNet")), 0.5)
    with pytest.raises(ConfigError, match="takes in 100 channels, but 384 come"):
        narrowed(PILLARS | dict(bbox_head=dict(type="Anchor3DHead", in_channels=100)), 0.5)
    with pytest.raises(ConfigError, match=r"model\.backbone \(SECOND\) lacks an entry"):
        narrowed(PILLARS | dict(backbone=dict(type="SECOND")), 0.5)
    with pytest.raises(ConfigError, match="leaves no channel"):
        narrowed(PILLARS, 0.001)
    with pytest.raises(ConfigError, match="positive"):
        narrowed(PILLARS, 0)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_our_own_students(name, stack):
    from structkd.engine.openmmlab import read_config
    from structkd.engine.openmmlab.detector import built

    model = read_config(f"mmdet3d::{name}").model
    millions = [
        sum(parameter.numel() for parameter in built(narrowed(model, width)).parameters()) / 1e6
        for width in (1.0, 0.5, 0.25)
    ]
    assert [round(number, 3) for number in millions] == list(NAMES[name])
