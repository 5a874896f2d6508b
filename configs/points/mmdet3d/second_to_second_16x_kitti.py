"""mmdet3d's SECOND into one with a sixteenth of the parameters, on KITTI."""

_base_ = "mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py"

model = dict(
    _delete_=True,
    type="structkd.DistilledDetector",
    teacher=_base_.model,
    teacher_checkpoint="https://download.openmmlab.com/mmdetection3d/v1.1.0_models/second/"
    "second_hv_secfpn_8xb6-80e_kitti-3d-3class/second_hv_secfpn_8xb6-80e_kitti-3d-3class-b086d0a3.pth",
    width=0.25,
    adapter=dict(maps=["backbone_0", "backbone_1"], head=True),
    distillers=dict(
        edges_0=dict(type="PointDistiller", field="backbone_0", importance="activation", n=256, out_channels=32),
        edges_1=dict(type="PointDistiller", field="backbone_1", importance="activation", n=256, out_channels=32),
        head=dict(type="LogitKD"),
    ),
)
