"""IRG: the graph of a batch's samples, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative
from structkd.distillers.features.samples import paired_samples
from structkd.distillers.rows import distilled_pair
from structkd.errors import ConfigError
from structkd.losses.features import feature_loss
from structkd.losses.instance_graph import instance_edges, instance_transform
from structkd.structure import Structure


class IRG(Distiller):
    r"""Instance relationship graph: vertices, edges, and how vertices move from layer to layer.

    Liu et al., "Knowledge Distillation via Instance Relationship Graph", CVPR 2019:

    .. math::
        L = \frac{w_v}{B K} \| Z_s - Z_t \|_F^2
          + \frac{w_e}{|F|} \sum_{l \in F} \frac{1}{B^2} \| A_s^l - A_t^l \|_F^2
          + \frac{w_\tau}{|P|} \sum_{(l, m) \in P} \frac{1}{B} \| \Lambda_s^{l m} - \Lambda_t^{l m} \|^2

    with Z the logits (the vertices of the last layer), A the squared distances between samples over the largest
    (`structkd.losses.instance_edges`) and Lambda the squared way of each sample between two layers over the farthest
    (`structkd.losses.instance_transform`).

    Args:
        fields: the layers F whose edges are compared: maps [B, C, H, W] or vectors [B, C], of any sizes.
        transforms: the pairs P of fields (earlier, later) between which samples move.
        vertex_weight, edge_weight, transform_weight: weight of each term; 0 (or no field, no pair) leaves it out. .1, 5
            and 5 in the common re-implementation.

    Reads the fields named, and `logits` [B, K], of both sides. Returns `vertex`, `edge` and `transform`, zero when the
    sides are equal; edges also up to a rotation, a shift and a scale of a layer's features. Nothing is learned beside
    the student.

    Differences: written from the paper's idea and the common PyTorch re-implementation; neither the paper's text nor
    the authors' (Caffe) code was read. How edges change between layers is left out: it follows from the edges. Where
    two layers differ in width, the re-implementation averages pairs of channels; here any number.
    """

    def __init__(
        self,
        fields: Sequence[str] = ("embedding",),
        transforms: Sequence[Sequence[str]] = (),
        vertex_weight: float = 0.1,
        edge_weight: float = 5.0,
        transform_weight: float = 5.0,
    ) -> None:
        super().__init__()
        not_negative("IRG", vertex_weight=vertex_weight, edge_weight=edge_weight, transform_weight=transform_weight)
        if isinstance(fields, str) or any(isinstance(pair, str) or len(pair) != 2 for pair in transforms):
            raise ConfigError(
                f"IRG(fields={fields!r}, transforms={transforms!r}): expected a list of names and a list of pairs of "
                "names."
            )
        self.fields = tuple(fields) if edge_weight else ()
        self.transforms = [tuple(pair) for pair in transforms] if transform_weight else []
        self.vertex_weight, self.edge_weight, self.transform_weight = vertex_weight, edge_weight, transform_weight
        named = {*self.fields, *(name for pair in self.transforms for name in pair)}
        self.reads = frozenset({*named, *(["logits"] if vertex_weight else [])})
        if not self.reads:
            raise ConfigError("IRG: every term is left out; give a weight above 0 and something to compare.")

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        student, teacher = distilled_pair(student, teacher)
        losses = {}
        if self.vertex_weight:
            losses["vertex"] = self.vertex_weight * feature_loss(*self._pair(student, teacher, "logits"))
        if self.fields:
            errors = [_error(*map(instance_edges, self._pair(student, teacher, field))) for field in self.fields]
            losses["edge"] = self.edge_weight * torch.stack(errors).mean()
        if self.transforms:
            errors = []
            for fields in self.transforms:
                before, after = (self._pair(student, teacher, field) for field in fields)
                errors.append(_error(*map(instance_transform, before, after)))
            losses["transform"] = self.transform_weight * torch.stack(errors).mean()
        return losses

    def _pair(self, student: Structure, teacher: Structure, field: str) -> tuple[Tensor, Tensor]:
        return paired_samples(student, teacher, field, "IRG", pooled=False)


def _error(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum() / max(a.numel(), 1)
