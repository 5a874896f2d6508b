_base_ = "../../_base_/points/second_kitti.py"
title = "PointDistiller on KITTI: SECOND, 16 times smaller"
run = ["teacher", "plain_16x", "point_distiller"]
_cells = dict(type="PointDistiller", importance="activation", reweight="zscore", out_channels=16, n=256, k=128)
stages = dict(
    point_distiller=dict(
        like="plain_16x",
        title="SECOND 16x, PointDistiller",
        method="PointDistiller",
        role="distilled",
        baseline="plain_16x",
        teachers=dict(teacher=dict(stage="teacher")),
        # both outputs of the 2D network
        distillers=dict(
            fine=dict(**_cells, field="backbone_0", student_channels=32, teacher_channels=128),
            coarse=dict(**_cells, field="backbone_1", student_channels=64, teacher_channels=256),
        ),
    ),
)
