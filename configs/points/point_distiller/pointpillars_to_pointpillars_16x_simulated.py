_base_ = "../../_base_/points/simulated.py"
title = "PointDistiller: PointPillars, 16 times smaller, on simulated streets"
run = ["teacher", "plain", "point_distiller", "point_distiller_reference"]
