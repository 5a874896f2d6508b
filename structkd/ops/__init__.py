"""Sparse operations, one a file; each with a plain PyTorch reference and whatever runs faster.

Edge lists go in as `edge_index` [2, E], source -> target; `csr_of` turns one into compressed rows, once.
Which implementation runs: `structkd.backends` and `python tools/info.py`.
"""

from structkd.ops.csr import CSR, csr_of
from structkd.ops.edge_kl import edge_difference_kl
from structkd.ops.iou_2d import iou_2d
from structkd.ops.knn import knn
from structkd.ops.nms import nms, nms_rotated
from structkd.ops.points_in_boxes import box_of_points, points_in_boxes
from structkd.ops.rotated_iou import iou_3d, rotated_iou
from structkd.ops.sampling import Neighbors, sample_neighbors
from structkd.ops.segment import segment_log_softmax, segment_max, segment_mean, segment_softmax, segment_sum
from structkd.ops.sparse_features import is_sparse, linear, take_rows
from structkd.ops.spmm import edge_dot, spmm

__all__ = [
    "CSR",
    "Neighbors",
    "box_of_points",
    "csr_of",
    "edge_difference_kl",
    "edge_dot",
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
    "segment_log_softmax",
    "segment_max",
    "segment_mean",
    "segment_softmax",
    "segment_sum",
    "spmm",
    "take_rows",
]
