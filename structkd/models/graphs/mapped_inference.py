"""Layer-wise inference of a graph on disk: every layer is computed block by block into a scratch file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from structkd.errors import ConfigError, DataError
from structkd.models.graphs.convs import Convolution, GCNConv, SAGEConv
from structkd.models.graphs.gnn import GNN
from structkd.models.graphs.layerwise import evaluating
from structkd.ops.csr import CSR
from structkd.ops.mapped import BLOCK_EDGES, MappedCSR, mapped_spmm, row_blocks

#: (rows, columns) -> a float32 matrix to be filled, in memory or over a file.
Allocate = Callable[[int, int], Tensor]


@torch.no_grad()
def mapped_inference(
    model: nn.Module,
    x: Tensor,
    csr: MappedCSR | None = None,
    allocate: Allocate = torch.empty,
    edges: int = BLOCK_EDGES,
    sources: int | None = None,
) -> Tensor:
    """Logits of every node in eval mode, for features and edges in mapped files.

    Beside the temporaries of one block only what `allocate` gives is needed: a layer's output, and its transformed
    input where the weights come before propagation. Equal to `model(x, edge_index)`.

    Args:
        model: `GCN` or `GraphSAGE` of this package; or, without `csr`, any row-wise model (an MLP). Runs on the CPU.
        x: [N, F] float32 or float16.
        csr: the edges, without loops; None for a graph-free model.
        allocate: where layers go, e.g. `DiskGraph.scratch`.
        edges, sources: see `structkd.ops.mapped.mapped_spmm`; with `sources` the sums need a matrix more.

    Returns [N, K] float32, from `allocate`.
    Errors: `ConfigError` for a model whose layers are not known.
    """
    model = model if next(model.parameters()).device.type == "cpu" else copy.deepcopy(model).cpu()
    with evaluating(model):
        if csr is None:
            return _by_rows(lambda rows: model(x[rows].float()), x.size(0), allocate)
        if not isinstance(model, GNN) or not all(isinstance(conv, (GCNConv, SAGEConv)) for conv in model.convs):
            raise ConfigError(
                f"The layers of {type(model).__name__} are not known to inference from disk, which runs GCN and "
                "GraphSAGE, and graph-free models."
            )
        if x.dtype != torch.float32:  # read at random below, where each row would be converted many times
            x = _by_rows(partial(_as_float32, x), x.size(0), allocate)
        for layer, conv in enumerate(model.convs):
            aggregate = _Aggregation(cast(Convolution, conv), csr, allocate, edges, sources)
            x = aggregate(x, partial(model.leave, layer))
    return x


def _as_float32(x: Tensor, rows: slice) -> Tensor:
    return x[rows].float()


class _Aggregation:
    """A convolution over the whole graph."""

    def __init__(self, conv: Convolution, csr: MappedCSR, allocate: Allocate, edges: int, sources: int | None) -> None:
        self.conv, self.csr, self.allocate, self.edges = conv, csr, allocate, edges
        self.sources = sources

    def __call__(self, x: Tensor, then: Callable[[Tensor], Tensor]) -> Tensor:
        """[N, C] of x [N, F], with the row-wise work `then` behind it."""
        conv, nodes, z = self.conv, self.csr.shape[0], x
        if conv.transforms_first(x):
            z = _by_rows(lambda rows: conv.transform(x[rows]), nodes, self.allocate)
        operator = partial(_operator_block, conv, self.csr)
        if self.sources is None:
            blocks = (slice(*ends) for ends in self.csr.blocks(self.edges))
            return _filled(
                lambda rows: then(conv.assemble(operator(rows.start, rows.stop), z, x, rows)),
                blocks, nodes, self.allocate,
            )  # fmt: skip
        sums = mapped_spmm(self.csr, z, self.allocate(nodes, z.size(1)), self.edges, self.sources, operator)
        # What is left of the convolution is row by row: it is given the sums, and an identity to propagate them.
        return _by_rows(
            lambda rows: then(conv.assemble(_identity(rows.stop - rows.start), sums[rows], x, rows)),
            nodes,
            self.allocate,
        )


def _identity(size: int) -> CSR:
    ids = torch.arange(size)
    return CSR(torch.arange(size + 1), ids, ids, None, (size, size))


def _by_rows(compute: Callable[[slice], Tensor], size: int, allocate: Allocate) -> Tensor:
    return _filled(compute, row_blocks(size), size, allocate)


def _filled(compute: Callable[[slice], Tensor], blocks: Iterable[slice], size: int, allocate: Allocate) -> Tensor:
    """The blocks as one matrix of `size` rows."""
    out: Tensor | None = None
    for rows in blocks:
        block = compute(rows)
        out = allocate(size, block.size(1)) if out is None else out
        out[rows] = block
    if out is None:
        raise DataError("The graph has no nodes.")
    return out


def _operator_block(conv: Convolution, csr: MappedCSR, start: int, stop: int) -> CSR:
    """The rows `start` to `stop` of what `conv.operator` builds of the whole graph."""
    block = csr.block(start, stop)
    if isinstance(conv, GCNConv):
        loops = int(conv.add_self_loops)
        block = _with_loops(block, start) if loops else block
        own, other = (_degree(csr, ids).add_(loops).float() for ids in (block.row + start, block.col))
        value = _inverse_root(own) * _inverse_root(other)
    else:
        include_self = cast(SAGEConv, conv).aggregator == "gcn"
        block = _with_loops(block, start) if include_self else block
        value = block.degree().float().reciprocal()[block.row]
    return CSR(block.rowptr, block.col, torch.arange(block.num_edges), value, block.shape)


def _degree(csr: MappedCSR, ids: Tensor) -> Tensor:
    return csr.rowptr[ids + 1] - csr.rowptr[ids]


def _inverse_root(degree: Tensor) -> Tensor:
    return torch.where(degree > 0, degree.clamp(min=1).rsqrt(), 0)


def _with_loops(block: CSR, start: int) -> CSR:
    """One more entry at the end of each row: the node itself."""
    rowptr = block.rowptr + torch.arange(block.rowptr.numel())
    col = torch.empty(block.num_edges + block.shape[0], dtype=torch.long)
    col[torch.arange(block.num_edges) + block.row] = block.col
    col[rowptr[1:] - 1] = torch.arange(start, start + block.shape[0])
    return CSR(rowptr, col, torch.arange(col.numel()), None, block.shape)
