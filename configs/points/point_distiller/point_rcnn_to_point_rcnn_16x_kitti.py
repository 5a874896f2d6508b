_base_ = "../../_base_/points/point_rcnn_kitti.py"
title = "PointDistiller on KITTI: PointRCNN, 16 times smaller"
run = ["teacher", "plain_16x", "point_distiller"]
stages = dict(
    point_distiller=dict(
        like="plain_16x",
        title="PointRCNN 16x, PointDistiller",
        method="PointDistiller",
        role="distilled",
        baseline="plain_16x",
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(
            kd=dict(
                type="PointDistiller",
                student_channels=32,
                teacher_channels=128,
                out_channels=32,
                importance="activation",
                reweight="zscore",
                pool="max",
                n=6000,
                k=128,
            )
        ),
    ),
)
