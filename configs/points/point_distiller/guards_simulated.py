# What keeps the two edge layers from agreeing on nothing: the guards of PointDistiller side by side, and how its
# centres are weighted. Settings are compared on validation frames, which no table of results is made of.
_base_ = "../../_base_/points/simulated.py"
title = "PointDistiller's guards and weights, on validation frames"
run = [
    "teacher",
    "plain",
    "point_distiller",
    "no_affine",
    "reconstruction",
    "unguarded",
    "rank_weights",
    "equal_weights",
    "half_of_them",
]
data = dict(splits=dict(test="val"))
stages = dict(
    point_distiller=dict(title="guard: fixed projection (default)"),
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
    equal_weights=dict(
        like="point_distiller",
        title="equal weights",
        role="distilled",
        method="PointDistiller",
        distillers=dict(kd=dict(reweight=None)),
    ),
    rank_weights=dict(
        like="point_distiller",
        title="weights by rank",
        role="distilled",
        method="PointDistiller",
        distillers=dict(kd=dict(reweight="rank")),
    ),
    half_of_them=dict(
        like="point_distiller",
        title="weights by rank, half of the pillars",
        role="distilled",
        method="PointDistiller",
        distillers=dict(kd=dict(reweight="rank", n=0.5)),
    ),
)
