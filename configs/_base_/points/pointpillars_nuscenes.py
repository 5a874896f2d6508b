# PointPillars with a centre head on nuScenes: ten scans merged, ten classes, velocities; a teacher, and a student whose
# channels are divided by 1.4, about half of the weights.
_range = [-51.2, -51.2, -5, 51.2, 51.2, 3]
_classes = [
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
]

data = dict(
    type="DetectionTask",
    dataset=dict(type="nuscenes_frames", root="data/nuscenes", sweeps=10, point_range=_range),
    classes=_classes,
    splits=dict(train="train", test="val"),
    augment=[
        dict(type="RandomFlip", x=0.5, y=0.5),
        dict(type="GlobalRotation", low=-0.3925, high=0.3925),
        dict(type="GlobalScaling"),
        dict(type="RangeFilter", point_range=_range),
        dict(type="PointShuffle"),
    ],
    metric=dict(type="NuScenesAP"),
)
seeds = [0]

_detector = dict(
    type="PointPillars",
    point_range=_range,
    voxel_size=[0.2, 0.2, 8],
    neck_strides=[0.5, 1, 2],
    legacy=False,
    head="center",
)
_training = dict(
    adapter=dict(elements="pillars", maps=["neck"]),
    train_dataloader=dict(batch_size=4, num_workers=2),
    optim_wrapper=dict(
        optimizer=dict(type="AdamW", lr=0.001, betas=[0.95, 0.99], weight_decay=0.01),
        clip_grad=dict(max_norm=35, norm_type=2),
    ),
    param_scheduler=dict(type="OneCycle"),
    train_cfg=dict(max_epochs=24),
    checkpoint_interval=1,
)

stages = dict(
    teacher=dict(title="PointPillars, centre head", role="teacher", model=_detector, **_training),
    plain_2x=dict(
        title="PointPillars 2x, centre head", role="plain", model=dict(**_detector, width=1 / 1.4), **_training
    ),
)
