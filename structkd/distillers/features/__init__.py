"""Distillers of features anywhere: maps of networks, elements of sparse ones; one paper a file."""

from structkd.distillers.features.attention_transfer import AttentionTransfer
from structkd.distillers.features.channel_wise import ChannelWise
from structkd.distillers.features.fitnet import FitNet
from structkd.distillers.features.pkd import PKD
from structkd.distillers.features.rkd import RKD
from structkd.distillers.features.similarity_preserving import SimilarityPreserving

__all__ = ["PKD", "RKD", "AttentionTransfer", "ChannelWise", "FitNet", "SimilarityPreserving"]
