# PointPillars as published for KITTI: a teacher, and students with a 4th and a 16th of its weights.
_base_ = "kitti.py"
_range = [0, -39.68, -3, 69.12, 39.68, 1]

data = dict(
    dataset=dict(point_range=_range),
    augment=[
        dict(type="GTSampling", groups=dict(Car=15, Pedestrian=15, Cyclist=15)),
        dict(type="RandomFlip"),
        dict(type="GlobalRotation"),
        dict(type="GlobalScaling"),
        dict(type="RangeFilter", point_range=_range),
        dict(type="PointShuffle"),
    ],
)

_training = dict(
    train_dataloader=dict(batch_size=6, repeat=2, num_workers=2),
    optim_wrapper=dict(
        optimizer=dict(type="AdamW", lr=0.001, betas=[0.95, 0.99], weight_decay=0.01),
        clip_grad=dict(max_norm=35, norm_type=2),
    ),
    param_scheduler=dict(type="OneCycle"),
    train_cfg=dict(max_epochs=80),
    checkpoint_interval=1,
)

stages = dict(
    teacher=dict(
        title="PointPillars",
        role="teacher",
        model=dict(type="PointPillars", point_range=_range),
        adapter=dict(elements="pillars"),
        **_training,
    ),
    plain_4x=dict(
        title="PointPillars 4x",
        role="plain",
        model=dict(type="PointPillars", point_range=_range, width=0.5),
        adapter=dict(elements="pillars"),
        **_training,
    ),
    plain_16x=dict(
        title="PointPillars 16x",
        role="plain",
        model=dict(type="PointPillars", point_range=_range, width=0.25),
        adapter=dict(elements="pillars"),
        **_training,
    ),
)
