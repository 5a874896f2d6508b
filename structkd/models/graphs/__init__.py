"""Teachers and students for graphs."""

from structkd.models.graphs.convs import APPNPConv, GATConv, GCNConv, GINConv, SAGEConv
from structkd.models.graphs.file_teacher import FileTeacher
from structkd.models.graphs.ga_mlp import GAMLP, graph_augment
from structkd.models.graphs.gnn import APPNP, GAT, GCN, GraphSAGE
from structkd.models.graphs.graph_level import GraphClassifier, GraphMLP
from structkd.models.graphs.layerwise import inference
from structkd.models.graphs.link_ensemble import GatedEnsemble
from structkd.models.graphs.link_heuristics import HeuristicTeacher
from structkd.models.graphs.link_predictor import DotPredictor, LinkModel, LinkPredictor
from structkd.models.graphs.mapped_inference import mapped_inference
from structkd.models.graphs.mlp import MLP
from structkd.models.graphs.positional import PositionalMLP
from structkd.models.graphs.tined import TINEDStudent, inject_
from structkd.models.graphs.vq import CosineCodebook
from structkd.models.graphs.vq_tokenizer import VQTokenizer

__all__ = [
    "APPNP",
    "GAMLP",
    "GAT",
    "GCN",
    "MLP",
    "APPNPConv",
    "CosineCodebook",
    "DotPredictor",
    "FileTeacher",
    "GATConv",
    "GCNConv",
    "GINConv",
    "GatedEnsemble",
    "GraphClassifier",
    "GraphMLP",
    "GraphSAGE",
    "HeuristicTeacher",
    "LinkModel",
    "LinkPredictor",
    "PositionalMLP",
    "SAGEConv",
    "TINEDStudent",
    "VQTokenizer",
    "graph_augment",
    "inference",
    "inject_",
    "mapped_inference",
]
