"""mmdet3d's PointPillars into one with a sixteenth of the parameters, on KITTI."""

_base_ = "mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py"

model = dict(
    _delete_=True,
    type="structkd.DistilledDetector",
    teacher=_base_.model,
    teacher_checkpoint="https://download.openmmlab.com/mmdetection3d/v1.0.0_models/pointpillars/"
    "hv_pointpillars_secfpn_6x8_160e_kitti-3d-3class/"
    "hv_pointpillars_secfpn_6x8_160e_kitti-3d-3class_20220301_150306-37dc2420.pth",
    width=0.25,
    adapter=dict(elements="pillars", head=True),
    distillers=dict(
        edges=dict(type="PointDistiller", field="x", out_channels=16),
        head=dict(type="LogitKD"),
    ),
)
