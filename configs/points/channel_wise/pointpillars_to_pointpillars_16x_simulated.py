_base_ = "../../_base_/points/simulated.py"
title = "Channel-wise distillation (CWD): PointPillars, 16 times smaller, on simulated streets"
run = ["teacher", "plain", "channel_wise"]
