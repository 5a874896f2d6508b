# Minutes instead of hours: fewer frames and epochs, one seed, the plain student, PointDistiller and logit KD.
_base_ = "../../_base_/points/simulated.py"
title = "LiDAR detection distilled, small: PointPillars, 16 times smaller, on simulated streets"
run = ["teacher", "plain", "point_distiller", "logit_kd"]
seeds = [0]
data = dict(dataset=dict(num_train=240, num_val=0, num_test=80))
stages = dict(
    teacher=dict(train_cfg=dict(max_epochs=12)),
    plain=dict(train_cfg=dict(max_epochs=6)),
)
