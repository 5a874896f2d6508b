# Simulated street scenes in KITTI's layout, made on the spot: 400 frames to train on, 100 to choose settings by, 200 to
# test. PointPillars on the 46 m ahead, with pillars of 0.32 m: a teacher, and a student with a 16th of its weights.
# Every method's stage for these data; a method's own config chooses stages with `run`.
_range = [0, -23.04, -3, 46.08, 23.04, 1]

data = dict(
    type="DetectionTask",
    dataset=dict(type="simulated_frames", num_train=400, num_val=100, num_test=200, seed=0, point_range=_range),
    classes=["Car", "Pedestrian", "Cyclist"],
    splits=dict(train="train", test="test"),
    augment=[
        dict(type="GTSampling", groups=dict(Car=6, Pedestrian=6, Cyclist=6)),
        dict(type="RandomFlip"),
        dict(type="GlobalRotation"),
        dict(type="GlobalScaling"),
        dict(type="RangeFilter", point_range=_range),
        dict(type="PointShuffle"),
    ],
)
seeds = [0, 1, 2]

_detector = dict(
    type="PointPillars",
    point_range=_range,
    voxel_size=[0.32, 0.32, 4],
    layer_nums=[3, 3, 3],
    channels=[32, 64, 128],
    neck_channels=[64, 64, 64],
    legacy=False,
)
_adamw = dict(
    optimizer=dict(type="AdamW", lr=0.001, betas=[0.95, 0.99], weight_decay=0.01),
    clip_grad=dict(max_norm=35, norm_type=2),
)
_loader = dict(batch_size=4, cache=True)

stages = dict(
    teacher=dict(
        title="PointPillars",
        role="teacher",
        model=_detector,
        train_dataloader=_loader,
        optim_wrapper=_adamw,
        param_scheduler=dict(type="OneCycle", peak=5),
        train_cfg=dict(max_epochs=30),
    ),
    plain=dict(
        title="PointPillars 16x",
        role="plain",
        model=dict(**_detector, width=0.25),
        train_dataloader=_loader,
        optim_wrapper=_adamw,
        param_scheduler=dict(type="OneCycle", peak=5),
        train_cfg=dict(max_epochs=15),
    ),
)
