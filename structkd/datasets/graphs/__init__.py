"""Graphs: readers, generators, splits and loaders."""

from structkd.datasets.graphs.amazon_coauthor import amazon_graph, coauthor_graph
from structkd.datasets.graphs.cpf import cpf_graph
from structkd.datasets.graphs.custom import custom_graph
from structkd.datasets.graphs.digits import digits_graph
from structkd.datasets.graphs.disk import DiskGraph, disk_graph
from structkd.datasets.graphs.disk_write import import_edges, write_graph
from structkd.datasets.graphs.graph_level import GraphBatches, GraphSet, digit_graphs, tu_graphs
from structkd.datasets.graphs.links import LinkBatches, LinkData, sample_negatives, split_links
from structkd.datasets.graphs.loaders import EdgeBatches, FullGraph, NodeBatches
from structkd.datasets.graphs.node_data import DiskNodeData, NodeData
from structkd.datasets.graphs.ogb import ogb_graph
from structkd.datasets.graphs.planetoid import planetoid_graph
from structkd.datasets.graphs.positions import deepwalk, node_positions, with_positions
from structkd.datasets.graphs.protocols import Split, fingerprint, make_split
from structkd.datasets.graphs.synthetic import synthetic_graph
from structkd.datasets.graphs.synthetic_disk import synthetic_disk_graph, write_synthetic_graph

__all__ = [
    "DiskGraph",
    "DiskNodeData",
    "EdgeBatches",
    "FullGraph",
    "GraphBatches",
    "GraphSet",
    "LinkBatches",
    "LinkData",
    "NodeBatches",
    "NodeData",
    "Split",
    "amazon_graph",
    "coauthor_graph",
    "cpf_graph",
    "custom_graph",
    "deepwalk",
    "digit_graphs",
    "digits_graph",
    "disk_graph",
    "fingerprint",
    "import_edges",
    "make_split",
    "node_positions",
    "ogb_graph",
    "planetoid_graph",
    "sample_negatives",
    "split_links",
    "synthetic_disk_graph",
    "synthetic_graph",
    "tu_graphs",
    "with_positions",
    "write_graph",
    "write_synthetic_graph",
]
