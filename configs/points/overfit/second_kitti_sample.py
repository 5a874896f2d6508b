# Ten real frames, learnt by heart: shows that labels, boxes, targets and evaluation fit together on real input.
# It says nothing about accuracy: the frames are those that were trained on.
_range = [0, -24, -3, 48, 24, 1]
title = "SECOND learns ten frames of KITTI by heart"
data = dict(
    type="DetectionTask",
    dataset=dict(type="KittiFrames", root="$STRUCTKD_DATA/kitti_sample", point_range=_range),
    classes=["Car", "Pedestrian", "Cyclist"],
    splits=dict(train="all", test="all"),
    augment=[dict(type="PointShuffle")],
)
seeds = [0]
stages = dict(
    detector=dict(
        title="SECOND",
        role="plain",
        model=dict(
            type="SECOND",
            point_range=_range,
            voxel_size=[0.1, 0.1, 0.1],
            layer_nums=[2, 2],
            width=0.5,
        ),
        train_dataloader=dict(batch_size=2, cache=True),
        optim_wrapper=dict(
            optimizer=dict(type="AdamW", lr=0.001, betas=[0.95, 0.99], weight_decay=0.01),
            clip_grad=dict(max_norm=35, norm_type=2),
        ),
        param_scheduler=dict(type="OneCycle", peak=5),
        train_cfg=dict(max_epochs=100),
    ),
)
