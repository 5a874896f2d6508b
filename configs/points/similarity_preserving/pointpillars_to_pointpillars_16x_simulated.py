_base_ = "../../_base_/points/simulated.py"
title = "Similarity preserving: PointPillars, 16 times smaller, on simulated streets"
run = ["teacher", "plain", "similarity"]
