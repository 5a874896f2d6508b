_base_ = "../../_base_/points/simulated.py"
title = "Attention transfer: PointPillars, 16 times smaller, on simulated streets"
run = ["teacher", "plain", "attention_transfer"]
