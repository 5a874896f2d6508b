"""Distillers of class scores, one paper a file."""

from structkd.distillers.logits.dist import DIST
from structkd.distillers.logits.dkd import DKD
from structkd.distillers.logits.kd import KD

__all__ = ["DIST", "DKD", "KD"]
