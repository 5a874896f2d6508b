"""Sparse operations, one a file; each with a plain PyTorch reference and whatever runs faster.

Edge lists go in as `edge_index` [2, E], source -> target; `csr_of` turns one into compressed rows, once.
Which implementation runs: `structkd.backends` and `python tools/info.py`.
"""

from structkd.ops.ball_query import ball_query
from structkd.ops.csr import CSR, csr_of
from structkd.ops.edge_difference import edge_difference
from structkd.ops.edge_distance import edge_square_distance
from structkd.ops.edge_kl import edge_difference_kl
from structkd.ops.edge_layer import edge_batch_norm, edge_layer, edge_moments, edge_terms, edges_of
from structkd.ops.farthest_points import farthest_points
from structkd.ops.grouped_matmul import grouped_matmul
from structkd.ops.info_nce import info_nce
from structkd.ops.iou_2d import iou_2d
from structkd.ops.knn import knn
from structkd.ops.nms import nms, nms_rotated
from structkd.ops.pillar_scatter import gather_from_grid, scatter_to_grid
from structkd.ops.points_in_boxes import box_of_points, points_in_boxes
from structkd.ops.rotated_iou import iou_3d, rotated_iou
from structkd.ops.sampling import Neighbors, sample_neighbors
from structkd.ops.segment import segment_log_softmax, segment_max, segment_mean, segment_softmax, segment_sum
from structkd.ops.segment_kl import segment_kl
from structkd.ops.sparse_conv import Rules, sparse_conv, strided_rules, submanifold_rules
from structkd.ops.sparse_features import is_sparse, linear, take_rows
from structkd.ops.spmm import edge_dot, spmm
from structkd.ops.three_nn import three_interpolate, three_nn
from structkd.ops.traced import trace
from structkd.ops.voxels import Voxels, hard_voxelize, voxelize

__all__ = [
    "CSR",
    "Neighbors",
    "Rules",
    "Voxels",
    "ball_query",
    "box_of_points",
    "csr_of",
    "edge_batch_norm",
    "edge_difference",
    "edge_difference_kl",
    "edge_dot",
    "edge_layer",
    "edge_moments",
    "edge_square_distance",
    "edge_terms",
    "edges_of",
    "farthest_points",
    "gather_from_grid",
    "grouped_matmul",
    "hard_voxelize",
    "info_nce",
    "iou_2d",
    "iou_3d",
    "is_sparse",
    "knn",
    "linear",
    "nms",
    "nms_rotated",
    "points_in_boxes",
    "rotated_iou",
    "sample_neighbors",
    "scatter_to_grid",
    "segment_kl",
    "segment_log_softmax",
    "segment_max",
    "segment_mean",
    "segment_softmax",
    "segment_sum",
    "sparse_conv",
    "spmm",
    "strided_rules",
    "submanifold_rules",
    "take_rows",
    "three_interpolate",
    "three_nn",
    "trace",
    "voxelize",
]
