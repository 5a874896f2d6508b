"""Distillers of features anywhere: maps of networks, elements of sparse ones; one paper a file."""

from structkd.distillers.features.attention_transfer import AttentionTransfer
from structkd.distillers.features.cc import CC
from structkd.distillers.features.channel_wise import ChannelWise
from structkd.distillers.features.crd import CRD
from structkd.distillers.features.fitnet import FitNet
from structkd.distillers.features.hkd import HKD
from structkd.distillers.features.irg import IRG
from structkd.distillers.features.pkd import PKD
from structkd.distillers.features.pkt import PKT
from structkd.distillers.features.review_kd import ReviewKD
from structkd.distillers.features.rkd import RKD
from structkd.distillers.features.similarity_preserving import SimilarityPreserving
from structkd.distillers.features.srrl import SRRL
from structkd.distillers.features.vid import VID

__all__ = [
    "CC",
    "CRD",
    "HKD",
    "IRG",
    "PKD",
    "PKT",
    "RKD",
    "SRRL",
    "VID",
    "AttentionTransfer",
    "ChannelWise",
    "FitNet",
    "ReviewKD",
    "SimilarityPreserving",
]
