_base_ = "../../_base_/points/point_rcnn_kitti.py"
title = "PointDistiller on KITTI: PointRCNN, 8 times smaller"
run = ["teacher", "plain_8x", "point_distiller"]
stages = dict(
    point_distiller=dict(
        like="plain_8x",
        title="PointRCNN 8x, PointDistiller",
        method="PointDistiller",
        role="distilled",
        baseline="plain_8x",
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(
            kd=dict(
                type="PointDistiller",
                student_channels=45,
                teacher_channels=128,
                out_channels=45,
                importance="activation",
                reweight="zscore",
                pool="max",
                n=6000,
                k=128,
            )
        ),
    ),
)
