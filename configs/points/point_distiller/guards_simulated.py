# What keeps the two edge layers from agreeing on nothing: the guards of PointDistiller side by side, and what else
# might decide whether it helps: weights, width of the edges, which features. Settings are compared on validation
# frames, which no table of results is made of.
_base_ = "../../_base_/points/simulated.py"
title = "PointDistiller's guards and other settings, on validation frames"
run = [
    "teacher",
    "plain",
    "logit_kd",
    "point_distiller",
    "no_affine",
    "reconstruction",
    "unguarded",
    "rank_weights",
    "out64",
    "neck_cells",
]
seeds = [0]
data = dict(splits=dict(test="val"))
stages = dict(
    no_affine=dict(
        like="point_distiller",
        title="guard: no affine",
        role="distilled",
        method="PointDistiller",
        distillers=dict(kd=dict(guard="no_affine")),
    ),
    reconstruction=dict(
        like="point_distiller",
        title="guard: reconstruction",
        role="distilled",
        method="PointDistiller",
        distillers=dict(kd=dict(guard="reconstruction")),
    ),
    unguarded=dict(
        like="point_distiller",
        title="no guard",
        role="distilled",
        method="PointDistiller",
        distillers=dict(kd=dict(guard=None)),
    ),
    rank_weights=dict(
        like="point_distiller",
        title="weights by rank",
        role="distilled",
        method="PointDistiller",
        distillers=dict(kd=dict(reweight="rank")),
    ),
    out64=dict(
        like="point_distiller",
        title="64 channels of edges",
        role="distilled",
        method="PointDistiller",
        distillers=dict(kd=dict(out_channels=64)),
    ),
    neck_cells=dict(
        like="point_distiller",
        title="cells of the neck",
        role="distilled",
        method="PointDistiller",
        distillers=dict(
            kd=dict(
                _delete_=True,
                type="PointDistiller",
                field="neck",
                importance="activation",
                reweight="zscore",
                student_channels=48,
                teacher_channels=192,
                out_channels=48,
                n=256,
                k=128,
                weight=1.0,
            )
        ),
    ),
)
