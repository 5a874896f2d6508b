# SECOND as published for KITTI: a teacher, and students with a 4th and a 16th of its weights.
_base_ = "kitti.py"
_range = [0, -40, -3, 70.4, 40, 1]

data = dict(
    dataset=dict(point_range=_range),
    augment=[
        dict(type="GTSampling", groups=dict(Car=12, Pedestrian=6, Cyclist=6)),
        dict(type="ObjectNoise", translation_std=[1.0, 1.0, 0.5], rotation=0.78539816),
        dict(type="RandomFlip"),
        dict(type="GlobalRotation"),
        dict(type="GlobalScaling"),
        dict(type="RangeFilter", point_range=_range),
        dict(type="PointShuffle"),
    ],
)

_training = dict(
    adapter=dict(maps=["backbone_0", "backbone_1"]),
    train_dataloader=dict(batch_size=6, repeat=2, num_workers=2),
    optim_wrapper=dict(
        optimizer=dict(type="AdamW", lr=0.0018, betas=[0.95, 0.99], weight_decay=0.01),
        clip_grad=dict(max_norm=10, norm_type=2),
    ),
    param_scheduler=dict(type="OneCycle"),
    train_cfg=dict(max_epochs=40),
    checkpoint_interval=1,
)

stages = dict(
    teacher=dict(title="SECOND", role="teacher", model=dict(type="SECOND", point_range=_range), **_training),
    plain_4x=dict(
        title="SECOND 4x", role="plain", model=dict(type="SECOND", point_range=_range, width=0.5), **_training
    ),
    plain_16x=dict(
        title="SECOND 16x", role="plain", model=dict(type="SECOND", point_range=_range, width=0.25), **_training
    ),
)
