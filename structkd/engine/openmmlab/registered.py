"""Our parts under the names that OpenMMLab configs use: `structkd.DistilledDetector` and its like."""

from __future__ import annotations

from structkd.engine.openmmlab.detector import DistilledDetector
from structkd.engine.openmmlab.hooks import DistillHook
from structkd.engine.openmmlab.kitti_metric import KittiMetric
from structkd.engine.registry import HOOKS, METRICS, MODELS

for registry, part in ((MODELS, DistilledDetector), (HOOKS, DistillHook), (METRICS, KittiMetric)):
    registry.register_module(module=part, force=True)
