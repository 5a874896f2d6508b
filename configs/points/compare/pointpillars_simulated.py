_base_ = "../../_base_/points/simulated.py"
title = "LiDAR detection distilled: PointPillars, 16 times smaller, on simulated streets"
