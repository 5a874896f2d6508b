"""Distillers of modules."""

from structkd.distillers.modules.m2mkd import M2mKD

__all__ = ["M2mKD"]
