"""Divergence between the neighbourhoods of a student's and a teacher's tokens (TRG's local preserving loss)."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.errors import ConfigError, DataError
from structkd.ops.edge_distance import edge_square_distance
from structkd.ops.knn import knn
from structkd.ops.precision import accumulator
from structkd.ops.segment import segment_sum
from structkd.ops.segment_kl import segment_kl

SUPPORT = ("teacher", "own")
NORMALISE = ("neighbours", "all")
FIRST = ("teacher", "student")
UNIT = ("token", "graph", "absolute")
#: Width and unit of the weights where none are asked for: here, in TRG, and in pictures of its graph.
SIGMA, DEFAULT_UNIT = 0.5, "token"
#: A token's own unit is at least this share of the whole graph's: what is closer than that counts as the same, and
#: rounding between look-alikes is not blown up.
FLOOR = 1e-3


def gaussian_weights(
    square_distance: Tensor, sigma: float = SIGMA, unit: str = DEFAULT_UNIT, row: Tensor | None = None
) -> Tensor:
    r"""Edge weights :math:`\exp(-d^2 / (2 \sigma))`; sigma is not squared, as TRG writes it.

    Args:
        square_distance: [E].
        sigma: width. At .5 in relative units the mean exponent is -1.
        unit: "token" measures the squared distances in units of their mean over the edges of the same token (Zelnik-
            Manor & Perona's local scaling, NIPS 2004, with a mean in place of one neighbour), "graph" in units of their
            mean over all edges; weights then do not change when the features are scaled, and of both units the gradient
            knows. "absolute" takes the distances as they are.
        row: [E] int64 token of each edge, for "token".

    Returns:
        [E] from 0 to 1; 1 where all distances are zero.
    """
    if unit not in UNIT:
        raise ConfigError(f"unit is '{unit}'; expected {', '.join(map(repr, UNIT))}.")
    if not sigma > 0:
        raise ConfigError(f"sigma is {sigma}; expected a number above 0.")
    if unit != "absolute" and square_distance.numel():
        mean = square_distance.mean()
        if unit == "token":
            if row is None:
                raise ConfigError("unit 'token' needs the token of each edge (row).")
            count = torch.bincount(row)
            own = segment_sum(square_distance, row, len(count)) / count.clamp(min=1)
            mean = torch.maximum(own, FLOOR * mean.detach())[row]
        square_distance = square_distance / torch.where(mean > 0, mean, 1)
    return (-square_distance / (2 * sigma)).exp()


def token_graph_loss(
    x_s: Tensor,
    x_t: Tensor,
    k: int = 8,
    sigma: float = SIGMA,
    unit: str = DEFAULT_UNIT,
    support: str = "teacher",
    normalise: str = "neighbours",
    first: str = "teacher",
    tau: float = 0.1,
) -> Tensor:
    r"""A student's tokens weigh their neighbours as the teacher's do.

    .. math::
        L = \frac{1}{N} \sum_i KL(softmax_j(A^t_{ij} / \tau) \,\|\, softmax_j(A^s_{ij} / \tau)), \qquad
        A_{ij} = \exp(-\| x[i] - x[j] \|^2 / (2 \sigma))

    over the neighbours j of token i. Zhang, Liu & He, "Knowledge Distillation via Token-level Relationship Graph",
    arXiv 2306.12442, 2023 (TRG's local preserving loss; only its published formulas are known, see Differences). Zero
    when the sides are equal up to a rotation, a shift and (unless `unit` is "absolute") a scale; 0 below two tokens.
    The sides may have any numbers of channels. Time of the neighbours O(N^2 C) in tiles, all else O(N k C); memory
    O(N (k + C)).

    Args:
        x_s: [N, C_s] student's tokens.
        x_t: [N, C_t] teacher's, row by row the same; detached.
        k: neighbours of a token by Euclidean distance, itself not among them; or as many as there are.
        sigma, unit: of the weights, see `gaussian_weights`; each side's distances in its own units.
        support: "teacher": both sides weigh the teacher's neighbours. "own": each side has its own k neighbours, and
            a pair that is in one graph only has weight 0 in the other.
        normalise: over what the softmax goes. "neighbours": token i's k neighbours (with "own": of either side).
            "all": all N tokens, those that are not neighbours with weight 0, in row i of the matrix as published:
            A_ij is positive where i is among the k nearest of j. Both cost the same here, for the zeros are counted
            and not stored (see `structkd.ops.segment_kl`).
        first: whose distribution stands first in the divergence: "teacher" (the expectation is the teacher's) or
            "student" (the student's).
        tau: temperature of the softmax; 1 is published.

    Returns:
        A scalar.

    Raises:
        DataError: the numbers of rows differ, features that are not finite.
        ConfigError: unknown options, k below 1, sigma or tau not positive.

    Differences: published are `support="own"`, `normalise="all"`, `first="student"`, `tau=1` and the sum over tokens in
    place of the mean (a published weight beta is beta N here); k, sigma and its unit are not published, nor whether the
    student has neighbours of its own. That form hardly teaches: weights of at most 1 among N - k zeros leave the
    softmax almost uniform, so that its gradient is tens to hundreds of times weaker than on the teacher's neighbours,
    thousands of times weaker than the default's (at `tau=0.1`), and falls as tokens are added (`tools/benchmark.py
    tokens`). The default compares the k weights that carry the relation, on one support, the teacher's first as in
    every other divergence here.

    Two things decide whether the sparse form teaches or destroys. The unit: in units of the whole graph (or absolute
    ones) tokens that fall together, but for a few that stay far away and carry the mean, all weigh 1. At tau = 1
    neighbours that all weigh the same are nearly what the teacher has, closer to it than a network at its start: the
    loss falls by making all tokens alike, before labels have a say, and what told images apart is gone (a student of
    the digits ends at chance). In its own unit a token's neighbours cannot gain by moving closer all at once: the
    gradient by the tokens is free of that direction. And the temperature: weights from 0 to 1 in a softmax at tau = 1
    keep the ratio of any two probabilities below e, so that little but this uniform part is left to learn; a tenth of
    it shows which neighbours are the near ones.
    """
    for name, value, options in (
        ("support", support, SUPPORT),
        ("normalise", normalise, NORMALISE),
        ("first", first, FIRST),
    ):
        if value not in options:
            raise ConfigError(f"{name} is '{value}'; expected '{options[0]}' or '{options[1]}'.")
    if x_s.dim() != 2 or x_t.dim() != 2 or x_s.size(0) != x_t.size(0):
        raise DataError(
            f"Student tokens have shape {tuple(x_s.shape)}, teacher tokens {tuple(x_t.shape)}; expected [N, C_s] and "
            "[N, C_t]."
        )
    if not tau > 0:
        raise ConfigError(f"tau is {tau}; a temperature is positive.")
    n = x_s.size(0)
    x_s, x_t = x_s.to(accumulator(x_s)), x_t.detach().to(accumulator(x_t))
    edges_t = knn(x_t, k)[0]
    edges_s = edges_t if support == "teacher" else knn(x_s.detach(), k)[0]
    a_s = gaussian_weights(edge_square_distance(x_s, edges_s), sigma, unit, edges_s[0])
    a_t = gaussian_weights(edge_square_distance(x_t, edges_t), sigma, unit, edges_t[0])
    edges = edges_t
    if support == "own":
        edges, (a_s, a_t) = _merged([edges_s, edges_t], [a_s, a_t], n)
    # From query to neighbour; the rows of the published matrix belong to the neighbour.
    row = edges[0] if normalise == "neighbours" else edges[1]
    zeros = None if normalise == "neighbours" else n - torch.bincount(row, minlength=n)
    sides = (a_t / tau, a_s / tau) if first == "teacher" else (a_s / tau, a_t / tau)
    return segment_kl(*sides, row, n, zeros).sum() / max(n, 1)


def _merged(lists: list[Tensor], weights: list[Tensor], n: int) -> tuple[Tensor, list[Tensor]]:
    """The edges [2, E] of any of some lists, and each list's weights [E] on them, 0 where it has no such edge."""
    keys = [edges[0] * n + edges[1] for edges in lists]
    every, place = torch.unique(torch.cat(keys), return_inverse=True)
    places = place.split([len(key) for key in keys])
    spread = [segment_sum(weight, to, every.numel()) for weight, to in zip(weights, places)]
    return torch.stack([every.div(max(n, 1), rounding_mode="floor"), every % max(n, 1)]), spread
