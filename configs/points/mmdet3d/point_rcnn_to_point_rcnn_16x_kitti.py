"""mmdet3d's PointRCNN into one with a sixteenth of the parameters, on KITTI."""

_base_ = "mmdet3d::point_rcnn/point-rcnn_8xb2_kitti-3d-3class.py"

model = dict(
    _delete_=True,
    type="structkd.DistilledDetector",
    teacher=_base_.model,
    teacher_checkpoint="https://download.openmmlab.com/mmdetection3d/v1.0.0_models/point_rcnn/"
    "point_rcnn_2x8_kitti-3d-3classes_20211208_151344.pth",
    width=0.25,
    adapter=dict(elements="points", head=True),
    distillers=dict(
        edges=dict(type="PointDistiller", field="x", importance="activation", pool="max", n=6000, out_channels=32),
        head=dict(type="LogitKD"),
    ),
)
