"""The TINED student: an MLP that mirrors a GNN layer by layer and starts from its weights."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from structkd.errors import ConfigError, WiringError, nearest
from structkd.models.graphs.linear import Linear, make_norm, reset
from structkd.models.graphs.mlp import layer_shapes

INITS = ("identity", "random")


class TINEDStudent(nn.Module):
    """For every layer of the teacher two linear layers: one holds its weights, one stands for its propagation.

    After Zhou et al., "TINED: GNNs-to-MLPs by Teacher Injection and Dirichlet Energy Distillation", ICML 2025. A GNN
    layer is a transformation W and a propagation along edges. `injections.{l}` has the shape of W and takes its
    values by `inject_`; `propagations.{l}` is square and learns to do without the edges. Their order follows the
    sizes, as in the teacher: transformation first when the layer narrows.

    Args:
        in_channels, hidden_channels, out_channels, num_layers: those of the teacher.
        dropout: probability of zeroing a hidden feature.
        norm: "none", "batch" or "layer", between layers.
        propagation_init: "identity" (the student starts as its teacher on a graph without edges) or "random".
        transform_first: fixes the order for every layer; None decides by the sizes. GAT transforms first always.

    Shapes: x [N, F] dense or sparse CSR -> logits [N, K].

    Taps: `before.{l}` and `propagations.{l}` are the features before and after layer l's stand-in for propagation;
    the convolutions of the teachers here have `convs.{l}.before` and `convs.{l}.after` at the same places. Give the
    parameters under `injections` their own learning rate by that prefix (the authors use a fraction).

    Differences: norm, ReLU and dropout stand between layers as in `MLP`, also for a GAT with its ELU; nothing stands
    between the two linear layers of a pair. Whether that is the authors' order could not be read.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        dropout: float = 0.0,
        norm: str = "none",
        propagation_init: str = "identity",
        transform_first: bool | None = None,
    ) -> None:
        super().__init__()
        if propagation_init not in INITS:
            raise ConfigError(f"propagation_init='{propagation_init}' is not known. {nearest(propagation_init, INITS)}")
        shapes = layer_shapes(in_channels, hidden_channels, out_channels, num_layers)
        self.propagation_init = propagation_init
        self.transform_first = [i > o if transform_first is None else transform_first for i, o in shapes]
        self.injections = nn.ModuleList(Linear(i, o) for i, o in shapes)
        self.before = nn.ModuleList(nn.Identity() for _ in shapes)
        self.propagations = nn.ModuleList(
            Linear(width, width) for width in (o if first else i for (i, o), first in zip(shapes, self.transform_first))
        )
        self.norms = nn.ModuleList(make_norm(norm, hidden_channels) for _ in shapes[1:])
        self.acts = nn.ModuleList(nn.ReLU() for _ in shapes[1:])
        self.drops = nn.ModuleList(nn.Dropout(dropout) for _ in shapes[1:])
        self.reset_parameters()

    def reset_parameters(self) -> None:
        reset(self.injections, self.propagations, self.norms)
        if self.propagation_init == "identity":
            for lin in cast("list[Linear]", self.propagations):
                nn.init.eye_(lin.weight)
                nn.init.zeros_(lin.bias)

    def forward(self, x: Tensor) -> Tensor:
        for layer, first in enumerate(self.transform_first):
            if layer:
                x = self.drops[layer - 1](self.acts[layer - 1](self.norms[layer - 1](x)))
            if first:
                x = self.propagations[layer](self.before[layer](self.injections[layer](x)))
            else:
                x = self.injections[layer](self.propagations[layer](self.before[layer](x)))
        return x


@torch.no_grad()
def inject_(student: TINEDStudent, teacher: nn.Module) -> TINEDStudent:
    """Copy the weights and biases of the teacher's `convs` into the student's `injections`, in place.

    The teacher is a GCN, a GAT or a GraphSAGE with the "gcn" aggregator: one weight matrix a layer. Nothing is
    copied unless everything fits. Errors: `WiringError` naming the layer and both shapes.
    """
    name = type(teacher).__name__
    convs = list(getattr(teacher, "convs", ()))
    if len(convs) != len(student.injections):
        raise WiringError(
            f"{name} has {len(convs)} convolutions under 'convs', but the student mirrors {len(student.injections)}; "
            f"give both the same num_layers."
        )
    weights = [_weights(conv, f"{name}.convs.{layer}") for layer, conv in enumerate(convs)]
    injections = cast("list[Linear]", student.injections)
    for layer, (lin, (weight, _)) in enumerate(zip(injections, weights)):
        if lin.weight.shape != weight.shape:
            raise WiringError(
                f"injections.{layer} of the student has weight {tuple(lin.weight.shape)}, but {name}.convs.{layer} "
                f"has {tuple(weight.shape)}; the student takes the teacher's channels."
            )
    for lin, (weight, bias) in zip(injections, weights):
        lin.weight.copy_(weight)
        lin.bias.zero_() if bias is None else lin.bias.copy_(bias)
    return student


def _weights(conv: nn.Module, where: str) -> tuple[Tensor, Tensor | None]:
    lin = getattr(conv, "lin", None)
    if lin is None:
        lin = getattr(conv, "lin_l", None)
    if lin is None or getattr(conv, "lin_r", None) is not None:
        raise WiringError(
            f"{where} ({type(conv).__name__}) has no single weight matrix to inject; use a GCN, a GAT or a GraphSAGE "
            f"with aggregator 'gcn' as teacher."
        )
    return lin.weight, lin.bias if lin.bias is not None else getattr(conv, "bias", None)
