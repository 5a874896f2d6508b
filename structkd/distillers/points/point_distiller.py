"""PointDistiller: a student learns what edges between similar elements look like to its teacher."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from structkd.distillers.base import Distiller
from structkd.distillers.checks import one_of, positive
from structkd.distillers.elements import Rows, paired_elements
from structkd.distillers.points.edges import EdgeLayer
from structkd.distillers.points.neighborhoods import (
    IMPORTANCE,
    REWEIGHT,
    SPACE,
    Neighborhoods,
    importance_of,
    importance_weights,
    most_important,
    nearest_to,
)
from structkd.errors import ConfigError
from structkd.ops.edge_difference import edge_difference
from structkd.ops.edge_layer import FUSE, edges_of
from structkd.structure import Structure

GUARDS = ("fixed", "no_affine", "reconstruction")
#: Centres whose teacher edges `edge_variance` is taken over.
WATCHED = 64
#: Edges of each centre that the guard "reconstruction" decodes, from the nearest to the farthest neighbour.
DECODED = 4
Terms = tuple[Tensor, Tensor]


class PointDistiller(Distiller):
    r"""Edges between an important element and the elements most like it, as the teacher sees them.

    Zhang, Dong et al., "PointDistiller: Structured Knowledge Distillation Towards Efficient and Compact 3D Detection",
    CVPR 2023 (local distillation over a k-NN graph in feature space, reweighted by importance).

    .. math::
        L = \frac{1}{N K C'} \sum_i w_i \sum_{j \in NN(i)} \| e^t_{ij} - e^s_{ij} \|^2, \qquad
        e_{ij} = ReLU(BN(W [x_j ; x_i]))

    In each scene the N most important elements i are asked about; NN(i) are the K nearest of the scene in the teacher's
    features, i itself among them, for both sides; w = N softmax(importance / tau). A scene is normalised by its own
    edges, and the loss is the mean over the scenes that have elements: it does not depend on the batch.

    Args:
        student_channels, teacher_channels: C of the student's and of the teacher's features.
        out_channels: C' of the edges.
        n: elements asked about in a scene, a number or (float) a share; never more than there are. Default: .2, which
            is about the published 6000 of a batch of 6 scenes of KITTI; 6000 in mode "reference". For the cells of a
            map 256 are published.
        k: neighbours, or as many as the scene has.
        tau: temperature of the weights. Default: 1; .01 in mode "reference".
        field: features to compare: "x", or any field of rows [N, C] or of maps [B, C, H, W], the same on both sides.
        importance: "count", the points in an element's cell (`importance` of the teacher), or "activation", its
            largest teacher feature. Equal counts are ordered by activation.
        reweight: score behind the weights, see `importance_weights`: "log", "zscore", "rank", "raw", or None for equal
            weights. Default ("auto"): "log"; "raw" in mode "reference".
        fuse: what an edge concatenates: "identity" for [x_j ; x_i], "sub" for [x_i - x_j ; x_i].
        pool: None compares every edge, "max" the maximum over each centre's edges (PointRCNN).
        space: where neighbours are near: "feature", "position", or "both" (each divided by its spread). Of equally near
            ones the lower row is taken.
        guard: what keeps both edge layers from agreeing on nothing: "fixed", the teacher's W is drawn once and stays,
            with orthonormal rows and no affine; "no_affine", both learn, without affine; "reconstruction", the
            distance does not reach the teacher's layer, which learns to keep what its input can be decoded from; None,
            both learn the distance. Default ("auto"): "fixed"; None in mode "reference".
        mode: "default", or "reference" for what the authors' code computes (see Differences).

    Reads `field` of both sides, with `batch` [N] (absent: one scene), `n_id` (compared where both have it) and
    `student.mask`; of the teacher `importance` [N] ("count") and `pos` [N, D] (by `space`). Returns `edge`, zero where
    sides and edge layers are equal, and with the guard "reconstruction" `edge_reconstruction`, the relative squared
    error of the decoder, which teaches the teacher's edge layer alone.

    `edge_variance` [] is the variance of the teacher's edges, averaged over channels, in some neighbourhoods of the
    last forward pass: it falls towards zero when the layers collapse.

    Differences: the published code (RunpeiDong/PointDistiller) does not do what it describes. (1) Pillars: candidates
    are those of all scenes of the batch; raw integer counts at tau = .01 give the pillars of the highest count all the
    weight. `mode="reference"` with importance="count". (2) Maps: the softmax runs over an axis of size one, so all
    weights are 1, times the batch size. `mode="reference"` with importance="activation"; one distiller a map. (3)
    PointRCNN: weights are not used, edges are pooled. `mode="reference"` with importance="activation", pool="max". In
    all three the loss is doubled, both layers learn it, edges of all scenes share their statistics (running ones in
    eval mode), and `reweight=None` gives 5e-4 times the norm of all differences. Where theirs fails for want of
    elements, N and K are clipped here (K to the smallest scene). (4) Theirs concatenates on every edge; ours applies
    W to elements, with the same result.
    """

    edge_variance: Tensor

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        out_channels: int = 32,
        n: int | float | None = None,
        k: int = 128,
        tau: float | None = None,
        field: str = "x",
        importance: str = "count",
        reweight: str | None = "auto",
        fuse: str = "identity",
        pool: str | None = None,
        space: str = "feature",
        guard: str | None = "auto",
        mode: str = "default",
    ) -> None:
        super().__init__()
        one_of("PointDistiller", "mode", mode, ("default", "reference"))
        self.reference = mode == "reference"
        n = n if n is not None else 6000 if self.reference else 0.2
        tau = tau if tau is not None else 0.01 if self.reference else 1.0
        if reweight == "auto":
            reweight = "raw" if self.reference else "log"
        if guard == "auto":
            guard = None if self.reference else "fixed"
        positive("PointDistiller", student_channels=student_channels, teacher_channels=teacher_channels)
        positive("PointDistiller", out_channels=out_channels, n=n, k=k, tau=tau)
        if isinstance(n, float) and n > 1:
            raise ConfigError(f"PointDistiller(n={n}): expected a whole number of elements, or a share up to 1.0.")
        one_of("PointDistiller", "importance", importance, IMPORTANCE)
        one_of("PointDistiller", "fuse", fuse, FUSE)
        one_of("PointDistiller", "space", space, SPACE)
        for name, value, options in (
            ("reweight", reweight, REWEIGHT),
            ("pool", pool, ("max",)),
            ("guard", guard, GUARDS),
        ):
            if value is not None:
                one_of("PointDistiller", name, value, options)
        if self.reference and (guard is not None or space != "feature" or reweight not in ("raw", None)):
            raise ConfigError(
                f"PointDistiller(mode='reference', guard={guard!r}, space={space!r}, reweight={reweight!r}): the "
                "published code knows no guard, neighbours in feature space, and raw weights or None."
            )
        if self.reference and pool is not None and importance != "activation":
            raise ConfigError("PointDistiller(mode='reference', pool='max') is published with importance='activation'.")
        self.n, self.k, self.tau, self.field = n, k, tau, field
        self.importance, self.reweight, self.pool, self.space, self.guard = importance, reweight, pool, space, guard
        self.reads = frozenset({field})
        self.reads_teacher = frozenset({"importance"} if importance == "count" else ())
        layer = partial(EdgeLayer, out_channels=out_channels, fuse=fuse, running=self.reference)
        affine, fixed = guard != "no_affine", guard == "fixed"
        self.student_edges = layer(student_channels, affine=affine)
        self.teacher_edges = layer(teacher_channels, affine=affine and not fixed, fixed=fixed)
        self.decoder = nn.Linear(out_channels, 2 * teacher_channels) if guard == "reconstruction" else None
        self.register_buffer("edge_variance", torch.tensor(0.0), persistent=False)

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        ours, theirs = paired_elements(student, teacher, self.field, "PointDistiller")
        if not theirs.x.numel():
            return self._nothing(ours)
        if self.reference:
            return {"edge": self._published(ours, theirs)}
        scenes = [self._scene(s.x, t) for s, t in zip(ours.scenes(), theirs.scenes())]
        self.edge_variance = torch.stack([scene.pop("variance") for scene in scenes]).mean()
        return {name: torch.stack([scene[name] for scene in scenes]).mean() for name in scenes[0]}

    def _scene(self, x: Tensor, teacher: Rows) -> dict[str, Tensor]:
        """Losses of one scene's elements, and the variance of its teacher's edges."""
        found = self._neighborhoods(teacher, self.k)
        ours, theirs = self._terms(x, teacher.x, found)
        losses = {"variance": _variance(theirs, found.neighbors)}
        if self.decoder is not None:
            losses["edge_reconstruction"] = self._reconstruction(teacher.x, theirs, found)
            theirs = theirs[0].detach(), theirs[1].detach()
        losses["edge"] = self._difference(ours, theirs, found)
        return losses

    def _published(self, student: Rows, teacher: Rows) -> Tensor:
        """The loss of the authors' code: one set of edges for the whole batch."""
        scenes = [teacher] if self.importance == "count" else teacher.scenes()
        k = min(self.k, *(len(scene.x) for scene in scenes), len(teacher.x))
        parts, start = [], 0
        for scene in scenes:
            center, index, weight = self._neighborhoods(scene, k)
            parts.append((center + start, index + start, weight))
            start += len(scene.x)
        centers, indices, weights = zip(*parts)
        # Only counts keep their weights; those of activations are the softmax of one number, or not used.
        weight = weights[0] if self.importance == "count" else None
        found = Neighborhoods(torch.cat(centers), torch.cat(indices), weight)
        ours, theirs = self._terms(student.x, teacher.x, found)
        self.edge_variance = _variance(theirs, found.neighbors)
        mean = self._difference(ours, theirs, found)
        if self.reweight is None:
            edges = len(found.center) if self.pool else found.neighbors.numel()
            total = mean * (edges * ours[0].size(1))
            return 5e-4 * total.clamp(min=torch.finfo(total.dtype).tiny).sqrt() * (total.detach() > 0)
        per_batch = self.importance == "activation" and self.pool is None
        return 2 * mean * (len(scenes) if per_batch else 1)

    @torch.no_grad()
    def _neighborhoods(self, teacher: Rows, k: int) -> Neighborhoods:
        importance = importance_of(teacher, self.importance, "PointDistiller")
        center = most_important(importance, teacher.x, self.n)
        weight = None if self.reweight is None else importance_weights(importance[center], self.tau, self.reweight)
        return Neighborhoods(center, nearest_to(teacher, center, k, self.space, "PointDistiller"), weight)

    def _terms(self, student: Tensor, teacher: Tensor, found: Neighborhoods) -> tuple[Terms, Terms]:
        ours = self.student_edges(student, found.center, found.neighbors)
        return ours, self.teacher_edges(teacher, found.center, found.neighbors)

    def _difference(self, ours: Terms, theirs: Terms, found: Neighborhoods) -> Tensor:
        """Weighted mean square over edges (or pooled edges) and channels."""
        center, index, weight = found
        if self.pool is None:
            return edge_difference(ours, theirs, index, weight) / (index.numel() * ours[0].size(1))
        apart = edges_of(*ours, index, self.pool) - edges_of(*theirs, index, self.pool)
        squares = apart.square().mean(1)
        return squares.mean() if weight is None else squares @ weight.to(squares) / len(center)

    def _reconstruction(self, x: Tensor, theirs: Terms, found: Neighborhoods) -> Tensor:
        """Squared error of what a few edges of each centre are decoded to, relative to the input's square."""
        assert self.decoder is not None
        ranks = torch.linspace(0, found.neighbors.size(1) - 1, min(DECODED, found.neighbors.size(1))).long()
        index = found.neighbors[:, ranks.to(found.neighbors.device)]
        ends = torch.cat([x[index], x[found.center].unsqueeze(1).expand(-1, index.size(1), -1)], -1)
        error = self.decoder(edges_of(*theirs, index)) - ends
        return error.square().mean() / ends.square().mean().clamp(min=1e-6)

    def _nothing(self, student: Rows) -> dict[str, Tensor]:
        """Zeros that can be differentiated, for a batch without elements."""
        zero = student.x.sum() * 0 + sum(parameter.sum() * 0 for parameter in self.parameters())
        return {name: zero for name in ("edge", *(() if self.decoder is None else ("edge_reconstruction",)))}


@torch.no_grad()
def _variance(terms: Terms, index: Tensor) -> Tensor:
    """Variance of some edges, averaged over channels."""
    rows = torch.linspace(0, len(index) - 1, min(WATCHED, len(index)), device=index.device).long()
    return edges_of(terms[0], terms[1][rows], index[rows]).var((0, 1), unbiased=False).mean()
