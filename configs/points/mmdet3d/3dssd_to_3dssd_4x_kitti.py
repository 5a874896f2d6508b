"""mmdet3d's 3DSSD into one with a quarter of the parameters, on KITTI."""

_base_ = "mmdet3d::3dssd/3dssd_4xb4_kitti-3d-car.py"

# Only the first set abstraction samples by place alone; deeper ones choose by features, each network for itself.
model = dict(
    _delete_=True,
    type="structkd.DistilledDetector",
    teacher=_base_.model,
    teacher_checkpoint="https://download.openmmlab.com/mmdetection3d/v1.0.0_models/3dssd/"
    "3dssd_4x4_kitti-3d-car/3dssd_4x4_kitti-3d-car_20210818_203828-b89c8fc4.pth",
    width=0.5,
    adapter=dict(elements="backbone.SA_modules.0"),
    distillers=dict(
        hint=dict(type="FitNet", field="x"),
        edges=dict(type="PointDistiller", field="x", importance="activation", out_channels=32),
    ),
)
