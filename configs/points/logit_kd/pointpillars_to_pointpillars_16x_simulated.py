_base_ = "../../_base_/points/simulated.py"
title = "Logit distillation: PointPillars, 16 times smaller, on simulated streets"
run = ["teacher", "plain", "logit_kd"]
