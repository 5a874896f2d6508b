"""Token relation graphs: TRG as it is by default against its formulas written out in dense matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Benchmark, Comparison, Row, Setting
from structkd.distillers import TRG
from structkd.distillers.tokens.sampling import sampled_tokens
from structkd.losses import contextual_loss, token_contrast, token_graph_loss
from structkd.structure import Structure

SIZES = {
    "small": "128 tokens of 8 images: a trial",
    "full": "1,024, 4,096 and 16,384 tokens of 64, 256 and 1,024 images (16 of each image's 8 x 8); the baseline is "
    "the published form in dense matrices, one of which takes 1,074 MB at 16,384 tokens: 12 GB, seven to thirty "
    "minutes",
}
IMAGES = {"small": (8,), "full": (64, 256, 1024)}
TOKENS, CELLS, STUDENT, TEACHER, CLUSTERS = 16, 8, 128, 256, 100
#: Tokens up to which single losses are compared too.
APART = 4096
#: MB that the default may take: half of one matrix of all tokens against all, at 16,384 of them.
LIMIT = 512
K, SIGMA, TAU = 8, 0.5, 0.5
LITERAL = {"support": "own", "normalise": "all", "first": "student", "unit": "graph", "tau": 1.0}
Sides = tuple[Callable[[], Sequence[Tensor]], Callable[[], Sequence[Tensor]]]


class Batch(NamedTuple):
    """Maps of both sides, and the distiller with the weights that the dense form has too: one each."""

    student: Tensor
    teacher: Tensor
    distiller: TRG


def batch(images: int) -> Batch:
    """Clustered teacher features; the student's are a noisy projection of them."""
    torch.manual_seed(0)
    centre = torch.randn(CLUSTERS, TEACHER)
    cells = centre[torch.randint(CLUSTERS, (images, CELLS, CELLS))].add_(torch.randn(images, CELLS, CELLS, TEACHER) / 2)
    ours = cells @ torch.randn(TEACHER, STUDENT).div_(TEACHER**0.5)
    ours += 0.5 * torch.randn(ours.shape)
    distiller = TRG(
        STUDENT, TEACHER, tokens_per_image=TOKENS, k=K, sigma=SIGMA, tau=TAU, local_weight=1, contextual_weight=1
    ).eval()  # every pass draws the same tokens
    return Batch(*(x.permute(0, 3, 1, 2).contiguous() for x in (ours, cells)), distiller)


def tokens(data: Batch, student: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return sampled_tokens(
        Structure(tokens=student), Structure(tokens=data.teacher), "tokens", TOKENS, generator, "benchmark"
    )


def adjacency(x: Tensor) -> Tensor:
    """As published, [N, N]: Gaussian weights where i is among the k nearest of j, else 0."""
    square = torch.cdist(x, x).square()
    with torch.no_grad():
        near = (square + torch.full((len(x),), float("inf")).diag()).topk(K, largest=False).indices
        mask = torch.zeros(square.shape, dtype=torch.bool).scatter_(1, near, True)
    mean = square[mask].mean()
    return torch.where(mask, (-square / (2 * SIGMA * mean)).exp(), 0).t()


def dense_local(x_s: Tensor, x_t: Tensor) -> Tensor:
    with torch.no_grad():
        log_t = adjacency(x_t).log_softmax(1)
    log_s = adjacency(x_s).log_softmax(1)
    return F.kl_div(log_t, log_s, reduction="batchmean", log_target=True)


def dense_contrast(x_s: Tensor, x_t: Tensor) -> Tensor:
    scores = F.normalize(x_s, dim=1) @ F.normalize(x_t, dim=1).t() / TAU
    return F.cross_entropy(scores, torch.arange(len(x_s)))


def step(data: Batch, losses: Callable[[Tensor], Sequence[Tensor]], shown: slice = slice(None)) -> Sequence[Tensor]:
    """Losses and the gradient of their sum by the student's map; of the losses those `shown` are compared."""
    student = data.student.detach().requires_grad_()
    values = losses(student)
    (gradient,) = torch.autograd.grad(sum(values), student)
    found = [value.detach() for value in values[shown]]
    return [*found, gradient] if shown == slice(None) else found


def trg_sides(images: int, size: str) -> Sides:
    data = batch(images)

    def dense(student: Tensor) -> Sequence[Tensor]:
        x_s, x_t, image = tokens(data, student)
        projected = data.distiller.projector(x_s)
        return [dense_local(x_s, x_t), dense_contrast(projected, x_t), contextual_loss(x_s, x_t, image)]

    def default(student: Tensor) -> Sequence[Tensor]:
        return list(data.distiller(Structure(tokens=student), Structure(tokens=data.teacher)).values())

    # The local losses are different on purpose.
    return partial(step, data, dense, slice(1, None)), partial(step, data, default, slice(1, None))


def form_sides(old: Callable[..., Tensor], new: Callable[..., Tensor], images: int, size: str) -> Sides:
    """Two ways to compute one loss of the same rows."""
    data = batch(images)
    with torch.no_grad():
        x_s, x_t, _ = tokens(data, data.student)
        x_s = data.distiller.projector(x_s) if new is token_contrast else x_s
    rows = data._replace(student=x_s)
    options = {"tau": TAU} if new is token_contrast else {"k": K, "sigma": SIGMA, **LITERAL}
    return partial(step, rows, lambda x: [old(x, x_t)]), partial(step, rows, lambda x: [new(x, x_t, **options)])


@dataclass(frozen=True)
class Limited(Comparison):
    """A comparison whose candidate has a memory of its own to keep to.

    Attributes:
        limit_mb: extra memory allowed.
    """

    limit_mb: float = LIMIT

    def measure(self, setting: Setting) -> list[Row]:
        rows = super().measure(setting)
        return [
            replace(row, target=f"<= {self.limit_mb:g}", met=row.candidate <= self.limit_mb)
            if row.measure.startswith("extra memory") and row.candidate is not None
            else row
            for row in rows
        ]


class Gradient:
    """Mean length of a token's gradient of the local loss as a sum over tokens, literal and default."""

    def __init__(self, images: int) -> None:
        self.images, self.name = images, f"gradient of the local loss, {images * TOKENS:,} tokens"

    def measure(self, setting: Setting) -> list[Row]:
        setting.say(self.name)
        data = batch(self.images)
        x_s, x_t, _ = tokens(data, data.student)
        x_s = x_s.requires_grad_()
        sizes = []
        for form in (LITERAL, {}):
            (gradient,) = torch.autograd.grad(token_graph_loss(x_s, x_t, K, SIGMA, **form), x_s)
            sizes.append(float(gradient.norm(dim=1).mean()) * len(x_s))
        detail = {"about": self.__doc__, "default_over_literal": sizes[1] / sizes[0]}
        return [Row(self.name, "a token, x 1e-6", *(1e6 * one for one in sizes), detail=detail)]

    def part(self, setting: Setting, part: str) -> dict[str, Any]:
        raise NotImplementedError


def suite(size: str) -> list[Benchmark]:
    found: list[Benchmark] = []
    for images in IMAGES[size]:
        count = images * TOKENS
        found += [
            Gradient(images),
            Limited(
                f"TRG, {count:,} tokens",
                partial(trg_sides, images),
                about="forward + backward of the three losses from maps to the gradient of the student's: the "
                "published formulas in dense matrices against the default",
            ),
        ]
        if count <= APART:
            found += [
                Comparison(
                    f"literal local loss, {count:,} tokens",
                    partial(form_sides, dense_local, token_graph_loss, images),
                    about="the same loss: dense matrices against edge lists whose zeros are counted",
                ),
                Comparison(
                    f"InfoNCE, {count:,} tokens",
                    partial(form_sides, dense_contrast, token_contrast, images),
                    about="the same loss, 256 channels: one matrix of all against all against tiles",
                ),
            ]
    return found
