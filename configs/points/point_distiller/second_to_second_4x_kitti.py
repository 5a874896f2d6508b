_base_ = "../../_base_/points/second_kitti.py"
title = "PointDistiller on KITTI: SECOND, 4 times smaller"
run = ["teacher", "plain_4x", "point_distiller"]
_cells = dict(type="PointDistiller", importance="activation", reweight="zscore", out_channels=32, n=256, k=128)
stages = dict(
    point_distiller=dict(
        like="plain_4x",
        title="SECOND 4x, PointDistiller",
        method="PointDistiller",
        role="distilled",
        baseline="plain_4x",
        teachers=dict(teacher=dict(stage="teacher")),
        # both outputs of the 2D network
        distillers=dict(
            fine=dict(**_cells, field="backbone_0", student_channels=64, teacher_channels=128),
            coarse=dict(**_cells, field="backbone_1", student_channels=128, teacher_channels=256),
        ),
    ),
)
