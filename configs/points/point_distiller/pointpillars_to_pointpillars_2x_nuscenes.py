# As published for nuScenes, the cells of the neck's map are compared; there the neck is an FPN and its first level has
# 256 channels (182 for the student), here all three levels are joined.
_base_ = "../../_base_/points/pointpillars_nuscenes.py"
title = "PointDistiller on nuScenes: PointPillars with a centre head, 2 times smaller"
run = ["teacher", "plain_2x", "point_distiller"]
stages = dict(
    point_distiller=dict(
        like="plain_2x",
        title="PointPillars 2x, PointDistiller",
        method="PointDistiller",
        role="distilled",
        baseline="plain_2x",
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(
            kd=dict(
                type="PointDistiller",
                field="neck",
                importance="activation",
                reweight="zscore",
                student_channels=273,
                teacher_channels=384,
                out_channels=64,
                n=256,
                k=128,
            )
        ),
    ),
)
