"""TRG: the graph of a batch's tokens, near and far, and the tokens within each image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from structkd.distillers.base import Distiller
from structkd.distillers.checks import not_negative, one_of, positive
from structkd.distillers.connectors import Connector
from structkd.distillers.draws import pass_generator
from structkd.distillers.tokens.sampling import sampled_tokens
from structkd.distillers.tokens.temperature import SCHEDULES, temperature
from structkd.losses.contextual import contextual_loss
from structkd.losses.token_contrast import token_contrast
from structkd.losses.token_graph import DEFAULT_UNIT, SIGMA, UNIT, token_graph_loss
from structkd.structure import Structure

#: What `token_graph_loss` is asked for, by the form of the local loss.
LOCAL = {
    "neighbours": {"support": "teacher", "normalise": "neighbours", "first": "teacher"},
    "literal": {"support": "own", "normalise": "all", "first": "student"},
}


class TRG(Distiller):
    r"""Token-level relationship graphs: tokens drawn from all images of a batch, related as the teacher relates them.

    Zhang, Liu & He, "Knowledge Distillation via Token-level Relationship Graph", arXiv 2306.12442, 2023 (journal
    version: Big Data Research, 2024).

    .. math:: L = \beta L_{local} + \gamma L_{global} + \alpha L_{inner}

    over the same tokens of both sides: the Gaussian weights of each token's k nearest neighbours in the batch
    (`token_graph_loss`), the contrast of a projected student token with the teacher's tokens of all images at a falling
    temperature (`token_contrast`), and what each token attends to within its image (`contextual_loss`). The paper's
    fourth term, cross entropy and KL of the logits, is the objective's and KD's: put them beside this distiller.

    Args:
        student_channels, teacher_channels: C of the tokens on either side.
        field: the tokens: a map [B, C, h, w], a cell each (a ViT's patches, a CNN's map), or rows [N, C] with `batch`.
        tokens_per_image: most tokens drawn from an image, anew in every pass; an image with fewer gives all. B times
            as many tokens make the graph, whose time grows with their square. The paper's gains grow with the batch up
            to 512 images.
        k: neighbours of a token.
        sigma: width of the Gaussian weights, not squared, as published; .5.
        sigma_unit: squared distances in units of their mean over the edges of each "token" (the default), over those of
            the whole "graph", or "absolute".
        local: "neighbours" compares the weights on the teacher's neighbours; "literal" is the published form (at a
            `local_tau` of 1): each side's own graph, softmax over all tokens, the student's distribution first.
        local_tau: temperature of the softmax of the local loss.
        local_weight, global_weight, contextual_weight: beta, gamma and alpha; 0 leaves a term out.
        tau, tau_end: temperature of the contrast in the first and in the last epoch.
        tau_schedule: "constant" (at `tau`), "linear", "cosine" or "exponential" between them.
        contextual_tau: temperature of the cosines within an image; None for scaled products, as published.
        seed: of the draws.

    Reads `field` of both sides; the teacher's map is resized to the student's grid. `mask_map` [B, h, w] of either side
    (with rows the student's `mask` [N]) says which tokens may be drawn (True). `set_progress` moves the temperature,
    which attribute `current_tau` shows. Returns `local` and `contextual`, zero when the sides are equal, and `global`,
    which is not (see `token_contrast`); all are zero where there is nothing to compare: no token or a single one, and
    for `contextual` one an image. Nothing of the size of all tokens against all is held. The projection of the global
    loss is all that is learned beside the student; the other two see the student's own features.

    Buffer `step` counts training passes: pass n draws by `seed` and n, so a resumed run draws what it would have.

    Differences: there is no public code, and only the formulas are known. Not published, so ours: tokens an image,
    k, sigma and its unit, `local_tau`, all weights, the temperatures and their schedule (published is that they
    fall), the similarity of the contrast (cosine), that a token is no neighbour of itself. They were set on
    handwritten digits, by validation accuracy, and varied one at a time over three seeds (`configs/images/trg`, with
    the results and with what was not varied): whether the temperature falls makes no difference there, the weights do.
    Without its contextual term the whole is as good within the spread, there and on CIFAR-10
    (`configs/images/compare`). The local term helps a student to start, and over a few times the default it keeps the
    labels from being heard. All terms are means over tokens where the paper has sums. The literal local loss hardly
    teaches, and the sparse one in units of the whole graph at a `local_tau` of 1 can pull all tokens of a student
    together (`token_graph_loss` says why). Nor does the literal contextual loss teach once features are long (see
    `contextual_loss`). The paper cuts a CNN's map into patches; here each of its cells is a token.
    """

    step: Tensor

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        field: str = "tokens",
        tokens_per_image: int = 16,
        k: int = 8,
        sigma: float = SIGMA,
        sigma_unit: str = DEFAULT_UNIT,
        local: str = "neighbours",
        local_tau: float = 0.1,
        local_weight: float = 0.3,
        global_weight: float = 1.0,
        contextual_weight: float = 10.0,
        tau: float = 0.5,
        tau_end: float = 0.1,
        tau_schedule: str = "cosine",
        contextual_tau: float | None = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        positive("TRG", student_channels=student_channels, teacher_channels=teacher_channels)
        positive("TRG", tokens_per_image=tokens_per_image, k=k, sigma=sigma, local_tau=local_tau)
        positive("TRG", tau=tau, tau_end=tau_end)
        weights = {"local": local_weight, "global": global_weight, "contextual": contextual_weight}
        not_negative("TRG", **{f"{name}_weight": weight for name, weight in weights.items()})
        one_of("TRG", "local", local, tuple(LOCAL))
        one_of("TRG", "sigma_unit", sigma_unit, UNIT)
        one_of("TRG", "tau_schedule", tau_schedule, SCHEDULES)
        if contextual_tau is not None:
            positive("TRG", contextual_tau=contextual_tau)
        self.field, self.reads = field, frozenset({field})
        self.tokens_per_image, self.k = tokens_per_image, k
        self.local_options: dict[str, Any] = {"sigma": sigma, "unit": sigma_unit, "tau": local_tau, **LOCAL[local]}
        self.weights, self.contextual_tau, self.seed = weights, contextual_tau, seed
        self.tau, self.tau_end, self.tau_schedule = tau, tau_end, tau_schedule
        self.current_tau = tau
        self.projector: nn.Module | None = Connector(student_channels, teacher_channels) if global_weight else None
        self.register_buffer("step", torch.tensor(0))

    def set_progress(self, epoch: int, max_epochs: int) -> None:
        share = min(epoch / max(max_epochs - 1, 1), 1.0)
        self.current_tau = temperature(share, self.tau, self.tau_end, self.tau_schedule)

    def forward(self, student: Structure, teacher: Structure) -> dict[str, Tensor]:
        generator = pass_generator(self.seed, self.step, self.training)
        x_s, x_t, batch = sampled_tokens(student, teacher, self.field, self.tokens_per_image, generator, "TRG")
        losses = {}
        if self.weights["local"]:
            losses["local"] = token_graph_loss(x_s, x_t, self.k, **self.local_options)
        if self.projector is not None:
            losses["global"] = token_contrast(self.projector(x_s), x_t, self.current_tau)
        if self.weights["contextual"]:
            losses["contextual"] = contextual_loss(x_s, x_t, batch, self.contextual_tau)
        return {name: self.weights[name] * value for name, value in losses.items()}
