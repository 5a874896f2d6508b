"""Layer-wise inference: every node's exact output, one layer of the whole graph after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from structkd.errors import ConfigError
from structkd.models.graphs.convs import Convolution, slice_rows
from structkd.models.graphs.gnn import APPNP, GNN
from structkd.models.graphs.mlp import MLP
from structkd.models.graphs.operators import row_block


@torch.no_grad()
def inference(model: nn.Module, x: Tensor, edge_index: Tensor | None = None, chunk: int = 65536) -> Tensor:
    """Logits of every node in eval mode, without gradients and without neighbour sampling.

    A layer is computed for all nodes, `chunk` rows at a time, before the next one starts. No neighbourhood is
    computed twice, and beside three matrices of node features (a layer's input, its transformed input, its output)
    only the temporaries of one block are held. Equal to `model(x, edge_index)` up to the rounding of sums.

    Args:
        model: a layered GNN or `APPNP` from this package; or, without `edge_index`, any row-wise model (an MLP).
        x: [N, F] dense or sparse CSR, on the device of the model.
        edge_index: [2, E] of the whole graph; None for a graph-free model.
        chunk: rows a block, at least 1.

    Returns [N, K]. Forward hooks see blocks, so taps have nothing to read here.
    Errors: `ConfigError` for a model whose layers are not known, or a chunk below 1.
    """
    if chunk < 1:
        raise ConfigError(f"chunk={chunk}; a block needs at least 1 row.")
    with evaluating(model):
        if edge_index is None:
            return _by_rows(lambda rows: model(slice_rows(x, rows)), x.size(0), chunk)
        if isinstance(model, APPNP):
            z = _by_rows(lambda rows: MLP.forward(model, slice_rows(x, rows)), x.size(0), chunk)
            return model.propagation(z, edge_index)
        if isinstance(model, GNN):
            # GAT's dropout in front of its first convolution is switched off by eval mode.
            for layer, conv in enumerate(model.convs):
                x = _convolve(cast(Convolution, conv), x, edge_index, chunk, partial(model.leave, layer))
            return x
    raise ConfigError(
        f"The layers of {type(model).__name__} are not known to layer-wise inference, which runs GCN, GraphSAGE, GAT "
        f"and APPNP; call the model on the whole graph, or leave edge_index out for a graph-free model."
    )


def _convolve(conv: Convolution, x: Tensor, edge_index: Tensor, chunk: int, then: Callable[[Tensor], Tensor]) -> Tensor:
    """A convolution and the row-wise work behind it, in blocks."""
    z = _by_rows(lambda rows: conv.transform(slice_rows(x, rows)), x.size(0), chunk)
    csr = conv.operator(edge_index, x.size(0), z.dtype)
    return _by_rows(
        lambda rows: then(conv.assemble(row_block(csr, rows.start, rows.stop), z, x, rows)), x.size(0), chunk
    )


def _by_rows(compute: Callable[[slice], Tensor], size: int, chunk: int) -> Tensor:
    """The blocks `compute(rows)` as one matrix of `size` rows, written into place one after another."""
    first = compute(slice(0, min(chunk, size)))
    if size <= chunk:
        return first
    out = first.new_empty(size, *first.shape[1:])
    out[:chunk] = first
    for start in range(chunk, size, chunk):
        rows = slice(start, min(start + chunk, size))
        out[rows] = compute(rows)
    return out


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside the block, and every module's own mode again after it."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
