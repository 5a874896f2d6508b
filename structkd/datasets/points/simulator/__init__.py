"""Simulated street scenes under a LiDAR, in KITTI's layout: the default data of the point-cloud experiments."""

from structkd.datasets.points.simulator.report import MEASURED, report, statistics
from structkd.datasets.points.simulator.simulate import COUNTS, Simulation
from structkd.datasets.points.simulator.write import simulated_kitti

__all__ = ["COUNTS", "MEASURED", "Simulation", "report", "simulated_kitti", "statistics"]
