"""mmdet3d's CenterPoint on pillars into one with a quarter of the parameters, on nuScenes."""

_base_ = "mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_head-circlenms_8xb4-cyclic-20e_nus-3d.py"

# Each of the six tasks has boxes of its own, so only the scores of the heads are compared.
model = dict(
    _delete_=True,
    type="structkd.DistilledDetector",
    teacher=_base_.model,
    teacher_checkpoint="https://download.openmmlab.com/mmdetection3d/v1.0.0_models/centerpoint/"
    "centerpoint_02pillar_second_secfpn_circlenms_4x8_cyclic_20e_nus/"
    "centerpoint_02pillar_second_secfpn_circlenms_4x8_cyclic_20e_nus_20220811_031844-191a3822.pth",
    width=0.5,
    adapter=dict(maps=["neck"], head=True),
    distillers=dict(
        neck=dict(type="FitNet", field="neck"),
        head=dict(type="LogitKD", box_weight=0),
    ),
)
