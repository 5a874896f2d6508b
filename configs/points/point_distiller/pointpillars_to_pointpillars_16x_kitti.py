_base_ = "../../_base_/points/pointpillars_kitti.py"
title = "PointDistiller on KITTI: PointPillars, 16 times smaller"
run = ["teacher", "plain_16x", "point_distiller"]
stages = dict(
    point_distiller=dict(
        like="plain_16x",
        title="PointPillars 16x, PointDistiller",
        method="PointDistiller",
        role="distilled",
        baseline="plain_16x",
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(
            kd=dict(type="PointDistiller", student_channels=16, teacher_channels=64, out_channels=16, n=0.2, k=128)
        ),
    ),
)
