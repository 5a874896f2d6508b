_base_ = "../../_base_/points/pointpillars_kitti.py"
title = "PointDistiller on KITTI: PointPillars, 4 times smaller"
run = ["teacher", "plain_4x", "point_distiller"]
stages = dict(
    point_distiller=dict(
        like="plain_4x",
        title="PointPillars 4x, PointDistiller",
        method="PointDistiller",
        role="distilled",
        baseline="plain_4x",
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(
            kd=dict(type="PointDistiller", student_channels=32, teacher_channels=64, out_channels=32, n=0.2, k=128)
        ),
    ),
)
