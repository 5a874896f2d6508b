"""Point clouds: readers, generators, augmentations and loaders."""

from structkd.datasets.points.augment import (
    GlobalRotation,
    GlobalScaling,
    PointSample,
    PointShuffle,
    RandomFlip,
    RangeFilter,
)
from structkd.datasets.points.augment_objects import GTSampling, ObjectNoise
from structkd.datasets.points.frame import Frame
from structkd.datasets.points.gt_database import GTDatabase
from structkd.datasets.points.kitti import KittiFrames
from structkd.datasets.points.kitti_results import to_kitti
from structkd.datasets.points.loader import SceneLoader
from structkd.datasets.points.nuscenes import NuScenesFrames
from structkd.datasets.points.nuscenes_predictions import to_nuscenes
from structkd.datasets.points.nuscenes_sets import nuscenes_frames
from structkd.datasets.points.scenes import Scenes
from structkd.datasets.points.simulated import simulated_frames
from structkd.datasets.points.simulator import Simulation, simulated_kitti

__all__ = [
    "Frame",
    "GTDatabase",
    "GTSampling",
    "GlobalRotation",
    "GlobalScaling",
    "KittiFrames",
    "NuScenesFrames",
    "ObjectNoise",
    "PointSample",
    "PointShuffle",
    "RandomFlip",
    "RangeFilter",
    "SceneLoader",
    "Scenes",
    "Simulation",
    "nuscenes_frames",
    "simulated_frames",
    "simulated_kitti",
    "to_kitti",
    "to_nuscenes",
]
