"""Modular students: transformers with experts, and attentive circuits."""

from structkd.models.modules.hybrid import Hybrid, Stitched
from structkd.models.modules.moe import Experts, MoE
from structkd.models.modules.moe_vit import VMoE, upcycle_
from structkd.models.modules.nac import NAC
from structkd.models.modules.records import Record, Recorder, owed_losses, recorded
from structkd.models.modules.router import Router, Routing
from structkd.models.modules.stitch import Stitch
from structkd.models.modules.view import ModularView

__all__ = [
    "NAC",
    "Experts",
    "Hybrid",
    "MoE",
    "ModularView",
    "Record",
    "Recorder",
    "Router",
    "Routing",
    "Stitch",
    "Stitched",
    "VMoE",
    "owed_losses",
    "recorded",
    "upcycle_",
]
