"""mmdet3d's PointPillars (SECFPN) into one with a quarter of the parameters, on nuScenes."""

_base_ = "mmdet3d::pointpillars/pointpillars_hv_secfpn_sbn-all_8xb4-2x_nus-3d.py"

model = dict(
    _delete_=True,
    type="structkd.DistilledDetector",
    teacher=_base_.model,
    teacher_checkpoint="https://download.openmmlab.com/mmdetection3d/v1.0.0_models/pointpillars/"
    "hv_pointpillars_secfpn_sbn-all_4x8_2x_nus-3d/"
    "hv_pointpillars_secfpn_sbn-all_4x8_2x_nus-3d_20210826_225857-f19d00a3.pth",
    width=0.5,
    adapter=dict(maps=["neck"], head=True),
    distillers=dict(
        neck=dict(type="PKD", field="neck"),
        head=dict(type="LogitKD"),
    ),
)
