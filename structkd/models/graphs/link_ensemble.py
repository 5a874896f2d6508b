"""Several link predictors as one, each trusted where it does well."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from structkd.models.graphs.mlp import MLP
from structkd.ops.sparse_features import take_rows


class GatedEnsemble(nn.Module):
    r"""Frozen link models mixed by a gate that sees the features of both ends.

    After EHDM (Qin et al., arXiv 2504.06193, 2025), which joins its heuristic-distilled MLPs so; no graph is needed.

    .. math:: p(i, j) = \sum_h w_h \sigma(z_h(i, j)), \qquad w = softmax(MLP(x_i \odot x_j))

    Args:
        students: models with `forward(x, pairs)` returning scores [P] before the sigmoid, or a dict with them under
            `logits` (`LinkModel`). They are frozen and stay in eval mode; only the gate learns.
        in_channels: input features of a node, F.
        hidden_channels, num_layers, dropout: of the gate's MLP.

    Shapes: `forward(x [N, F] dense or sparse CSR, pairs [2, P])` returns `{"logits": [P], "gate": [P, H]}`, where the
    logits are those of the mixed probability: train them with binary cross entropy on true and false links.

    Differences: the authors' snapshot (repository ZongyueQin/EHDM, 84e7cb5) multiplies the gate's scores by zero and
    skips its training, so that it averages evenly; the gate here works. Their L1 penalty on weights that add up to 1
    is a constant and is left out.
    """

    def __init__(
        self,
        students: Iterable[nn.Module],
        in_channels: int,
        hidden_channels: int = 64,
        num_layers: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.students = nn.ModuleList(students).requires_grad_(False).eval()
        self.gate = MLP(in_channels, hidden_channels, len(self.students), num_layers, dropout)

    def reset_parameters(self) -> None:
        """Forget the gate; the students stay as they are."""
        self.gate.reset_parameters()

    def train(self, mode: bool = True) -> GatedEnsemble:
        super().train(mode)
        self.students.eval()
        return self

    def forward(self, x: Tensor, pairs: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            outputs = [student(x, pairs) for student in self.students]
            scores = [out["logits"] if isinstance(out, dict) else out for out in outputs]
            z = torch.stack([score.reshape(-1) for score in scores], dim=1)
        log_w = F.log_softmax(self.gate(_rows(x, pairs[0]) * _rows(x, pairs[1])), dim=1)
        yes = torch.logsumexp(log_w + F.logsigmoid(z), dim=1)
        no = torch.logsumexp(log_w + F.logsigmoid(-z), dim=1)
        return {"logits": yes - no, "gate": log_w.exp()}


def _rows(x: Tensor, index: Tensor) -> Tensor:
    rows = take_rows(x, index)
    return rows if rows.layout == torch.strided else rows.to_dense()
