"""Distillers for graphs, one paper a file."""

from structkd.distillers.graphs.ehdm import EHDM
from structkd.distillers.graphs.ff_g2m import FFG2M
from structkd.distillers.graphs.glnn import GLNN
from structkd.distillers.graphs.hgmd import HGMD
from structkd.distillers.graphs.krd import KRD
from structkd.distillers.graphs.llp import LLP
from structkd.distillers.graphs.lsp import LSP
from structkd.distillers.graphs.mugsi import MuGSI
from structkd.distillers.graphs.nosmog import NOSMOG
from structkd.distillers.graphs.tined import TINED
from structkd.distillers.graphs.vqgraph import VQGraph, VQGraphTokenizer

__all__ = [
    "EHDM",
    "FFG2M",
    "GLNN",
    "HGMD",
    "KRD",
    "LLP",
    "LSP",
    "NOSMOG",
    "TINED",
    "MuGSI",
    "VQGraph",
    "VQGraphTokenizer",
]
