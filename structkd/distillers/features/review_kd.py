"""ReviewKD: a student's shallow layers review what the teacher's deep ones know."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, positive
from structkd.distillers.connectors import BatchNorm, NormalizedConnector
from structkd.distillers.features.pairs import paired_features
from structkd.distillers.warm_up import warm_up
from structkd.errors import ConfigError
from structkd.losses.pyramid import hierarchical_context
from structkd.structure import Structure


class ReviewKD(Distiller):
    r"""Knowledge review: maps fused from deep to shallow, compared at several scales.

    Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021:

    .. math::
        L = \sum_l HCL(C_l(u_l), f_t^l), \qquad
        u_l = a_1 \odot P_l(f_s^l) + a_2 \odot up(u_{l + 1}), \quad
        (a_1, a_2) = \sigma\big(A_l [P_l(f_s^l), up(u_{l + 1})]\big)

    with P a 1 x 1 convolution and C a 3 x 3 one (each with batch normalisation), A a 1 x 1 convolution to two maps of
    attention, up nearest-neighbour resizing, u = P(f_s) at the deepest level, and HCL the hierarchical context loss
    (`structkd.losses.hierarchical_context`).

    Args:
        fields: maps [B, C, H, W] from shallow to deep; a vector [B, C] (pooled features, published as the deepest) is a
            map of one cell.
        student_channels, teacher_channels: C of each field on either side.
        width: channels of u; by default the student's at the deepest level, at most 512 (published for CIFAR-100).
        warm_up: epochs over which the loss rises to its full weight (published: 20); `set_progress` tells the epoch.
        pools: cells a side of the coarser scales.

    Reads the fields of both sides; teacher maps of another size are resized to the student's. Returns `review`, zero
    when every C(u) is the teacher's map. The fusion is learned.

    Differences: the authors bring a student's fused map to the size of the teacher's, by nearest neighbours; here, as
    everywhere in this library, the teacher's is brought to the student's.
    """

    def __init__(
        self,
        fields: Sequence[str],
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        width: int | None = None,
        warm_up: int = 20,
        pools: Sequence[int] = (4, 2, 1),
    ) -> None:
        super().__init__()
        if isinstance(fields, str) or not fields or not len(fields) == len(student_channels) == len(teacher_channels):
            raise ConfigError(
                f"ReviewKD(fields={fields!r}, student_channels={student_channels!r}, "
                f"teacher_channels={teacher_channels!r}): expected as many channels on either side as fields."
            )
        not_negative("ReviewKD", warm_up=warm_up)
        width = min(512, student_channels[-1]) if width is None else width
        positive("ReviewKD", width=width)
        self.fields, self.reads, self.pools = tuple(fields), frozenset(fields), tuple(pools)
        self.warm_up, self.share = warm_up, 1.0
        last = len(self.fields) - 1
        self.fusions = nn.ModuleList(
            Fusion(c_s, width, c_t, level < last)
            for level, (c_s, c_t) in enumerate(zip(student_channels, teacher_channels))
        )

    def set_progress(self, epoch: int, max_epochs: int) -> None:
        self.share = warm_up(epoch, self.warm_up)

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        losses, deeper = [], None
        for field, fusion in zip(reversed(self.fields), reversed(self.fusions)):
            f_s, f_t, _ = paired_features(student, teacher, field, "ReviewKD", maps_only=True)
            f_s, f_t = (f if f.dim() == 4 else f[:, :, None, None] for f in (f_s, f_t))
            seen, deeper = fusion(f_s, deeper)
            losses.append(hierarchical_context(seen, f_t, self.pools))
        return {"review": self.share * torch.stack(losses).sum()}


class Fusion(nn.Module):
    """Attention between a level's map and what comes from the deeper ones.

    Args:
        in_channels, width, out_channels: channels of the student's map, of the fused one, of the teacher's.
        fuse: whether there is a deeper level.
    """

    def __init__(self, in_channels: int, width: int, out_channels: int, fuse: bool) -> None:
        super().__init__()
        self.inward = NormalizedConnector(in_channels, width)
        self.attention = nn.Conv2d(2 * width, 2, 1) if fuse else None
        self.outward = nn.Conv2d(width, out_channels, 3, padding=1, bias=False)
        self.norm = BatchNorm(out_channels)

    def forward(self, x: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] and the deeper level's fused map -> the image of the fused map, and that map."""
        x = self.inward(x)
        if self.attention is not None and deeper is not None:
            deeper = F.interpolate(deeper, x.shape[-2:], mode="nearest")
            share = self.attention(torch.cat([x, deeper], 1)).sigmoid()
            x = x * share[:, :1] + deeper * share[:, 1:]
        return self.norm(self.outward(x)), x
