"""The divergence of class distributions in two parts: the label's share, and how the rest is shared out."""

from __future__ import annotations

import torch
from torch import Tensor

from structkd.errors import DataError
from structkd.losses.logits import kl_divergence
from structkd.ops.precision import accumulator


def decoupled_kl(z_s: Tensor, z_t: Tensor, y: Tensor, tau: float = 1.0) -> tuple[Tensor, Tensor]:
    r"""The two parts of a row's divergence, one value a row.

    .. math::
        KL(p_t \| p_s) = \underbrace{KL(b_t \| b_s)}_{target} + (1 - p_t[y]) \underbrace{KL(q_t \| q_s)}_{others},
        \quad b = (p[y], 1 - p[y]), \quad q[k] = \frac{p[k]}{1 - p[y]},\ k \neq y

    Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022, equation 6. Both parts are zero when the sides' logits
    are equal. Half and bfloat16 logits are compared in float32. Nothing is divided by 1 - p[y]: q is the softmax of the
    other classes' logits, b that of the label's and the others' log-sum-exp.

    Args:
        z_s, z_t: [B, K] logits, K at least 2.
        y: [B] int64 labels, 0 to K - 1.
        tau: temperature of both sides.

    Returns:
        target [B], others [B]; no factor tau^2.

    Raises:
        DataError: shapes that do not fit, fewer than 2 classes, labels out of range.

    Differences: the authors' code takes the label out by subtracting 1000 from its logit; here it is left out exactly.
    """
    if z_s.dim() != 2 or z_s.shape != z_t.shape or y.shape != z_s.shape[:1]:
        raise DataError(
            f"Student logits have shape {tuple(z_s.shape)}, teacher logits {tuple(z_t.shape)}, labels "
            f"{tuple(y.shape)}; expected [B, K], [B, K] and [B]."
        )
    classes = z_s.size(1)
    if classes < 2:
        raise DataError(f"There are {classes} classes; beside the label's there must be another one.")
    if y.numel() and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise DataError(f"Labels run from {int(y.min())} to {int(y.max())}; expected 0 to {classes - 1}.")
    z_s, z_t = (z.to(accumulator(z_s, z_t)) for z in (z_s, z_t))
    # Class c of the others is class c or, from the label on, c + 1.
    other = torch.arange(classes - 1, device=y.device)
    other = other + (other >= y[:, None])
    rest_s, rest_t = (z.gather(1, other) for z in (z_s, z_t))
    two_s, two_t = (
        torch.stack([z.gather(1, y[:, None])[:, 0] / tau, (rest / tau).logsumexp(1)], 1)
        for z, rest in ((z_s, rest_s), (z_t, rest_t))
    )
    return kl_divergence(two_s, two_t, reduction="none"), kl_divergence(rest_s, rest_t, tau, reduction="none")
