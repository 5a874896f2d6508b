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
UNIT = ("relative", "absolute")


def gaussian_weights(square_distance: Tensor, sigma: float = 0.5, unit: str = "relative") -> Tensor:
    r"""Edge weights :math:`\exp(-d^2 / (2 \sigma))`; sigma is not squared, as TRG writes it.

    Args:
        square_distance: [E].
        sigma: width. At .5 in relative units the mean exponent is -1.
        unit: "relative" measures the squared distances in units of their mean over all edges (of which the gradient
            knows), so that the weights do not change when the features are scaled; "absolute" takes them as they are.

    Returns:
        [E] from 0 to 1; 1 where all distances are zero.
    """
    if unit not in UNIT:
        raise ConfigError(f"unit is '{unit}'; expected 'relative' or 'absolute'.")
    if not sigma > 0:
        raise ConfigError(f"sigma is {sigma}; expected a number above 0.")
    if unit == "relative":
        mean = square_distance.sum() / max(square_distance.numel(), 1)
        square_distance = square_distance / torch.where(mean > 0, mean, 1)
    return (-square_distance / (2 * sigma)).exp()


def token_graph_loss(
    x_s: Tensor,
    x_t: Tensor,
    k: int = 8,
    sigma: float = 0.5,
    unit: str = "relative",
    support: str = "teacher",
    normalise: str = "neighbours",
    first: str = "teacher",
) -> Tensor:
    r"""A student's tokens weigh their neighbours as the teacher's do.

    .. math::
        L = \frac{1}{N} \sum_i KL(softmax_j(A^t_{ij}) \,\|\, softmax_j(A^s_{ij})), \qquad
        A_{ij} = \exp(-\| x[i] - x[j] \|^2 / (2 \sigma))

    over the neighbours j of token i. Zhang, Liu & He, "Knowledge Distillation via Token-level Relationship Graph",
    arXiv 2306.12442, 2023 (TRG's local preserving loss; only its published formulas are known, see Differences). Zero
    when the sides are equal up to a rotation, a shift and (in relative units) a scale; 0 below two tokens. The sides
    may have any numbers of channels. Time of the neighbours O(N^2 C) in tiles, all else O(N k C); memory O(N (k + C)).

    Args:
        x_s: [N, C_s] student's tokens.
        x_t: [N, C_t] teacher's, row by row the same; detached.
        k: neighbours of a token by Euclidean distance, itself not among them; or as many as there are.
        sigma, unit: of the weights, see `gaussian_weights`; each side's distances in its own unit.
        support: "teacher": both sides weigh the teacher's neighbours. "own": each side has its own k neighbours, and
            a pair that is in one graph only has weight 0 in the other.
        normalise: over what the softmax goes. "neighbours": token i's k neighbours (with "own": of either side).
            "all": all N tokens, those that are not neighbours with weight 0, in row i of the matrix as published:
            A_ij is positive where i is among the k nearest of j. Both cost the same here, for the zeros are counted
            and not stored (see `structkd.ops.segment_kl`).
        first: whose distribution stands first in the divergence: "teacher" (the expectation is the teacher's) or
            "student" (the student's).

    Returns:
        A scalar.

    Raises:
        DataError: the numbers of rows differ, features that are not finite.
        ConfigError: unknown options, k below 1, sigma not positive.

    Differences: published are `support="own"`, `normalise="all"`, `first="student"` and the sum over tokens in place of
    the mean (a published weight beta is beta N here); k and sigma are not published, nor whether the student has
    neighbours of its own. That form hardly teaches: weights of at most 1 among N - k zeros leave the softmax almost
    uniform, so that its gradient is tens to hundreds of times weaker than the default's and falls as tokens are added
    (`tools/benchmark.py tokens`). The default compares the k weights that carry the relation, on one support. There the
    order hardly matters, since weights from 0 to 1 keep the ratio of two probabilities below e^2: the teacher's stands
    first as in every other divergence here, which makes the derivative by the student's weights the difference of both
    distributions.
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
    n = x_s.size(0)
    x_s, x_t = x_s.to(accumulator(x_s)), x_t.detach().to(accumulator(x_t))
    edges_t = knn(x_t, k)[0]
    edges_s = edges_t if support == "teacher" else knn(x_s.detach(), k)[0]
    a_s = gaussian_weights(edge_square_distance(x_s, edges_s), sigma, unit)
    a_t = gaussian_weights(edge_square_distance(x_t, edges_t), sigma, unit)
    edges = edges_t
    if support == "own":
        edges, (a_s, a_t) = _merged([edges_s, edges_t], [a_s, a_t], n)
    # From query to neighbour; the rows of the published matrix belong to the neighbour.
    row = edges[0] if normalise == "neighbours" else edges[1]
    zeros = None if normalise == "neighbours" else n - torch.bincount(row, minlength=n)
    sides = (a_t, a_s) if first == "teacher" else (a_s, a_t)
    return segment_kl(*sides, row, n, zeros).sum() / max(n, 1)


def _merged(lists: list[Tensor], weights: list[Tensor], n: int) -> tuple[Tensor, list[Tensor]]:
    """The edges [2, E] of any of some lists, and each list's weights [E] on them, 0 where it has no such edge."""
    keys = [edges[0] * n + edges[1] for edges in lists]
    every, place = torch.unique(torch.cat(keys), return_inverse=True)
    places = place.split([len(key) for key in keys])
    spread = [segment_sum(weight, to, every.numel()) for weight, to in zip(weights, places)]
    return torch.stack([every.div(max(n, 1), rounding_mode="floor"), every % max(n, 1)]), spread
