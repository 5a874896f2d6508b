"""What a codebook learnt: how evenly its codes are used, and how well a code stands for a class."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from structkd.errors import DataError


def code_usage(codes: Tensor, num_codes: int) -> Tensor:
    """How many elements each code stands for.

    Args:
        codes: [N] int64, the code of each element, 0 to `num_codes - 1`.
        num_codes: size K of the codebook.

    Returns:
        [K] int64 counts. Raises `DataError` for a code outside the codebook.
    """
    if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= num_codes):
        raise DataError(
            f"codes run from {int(codes.min())} to {int(codes.max())}; a codebook of {num_codes} has codes 0 to "
            f"{num_codes - 1}."
        )
    return torch.bincount(codes, minlength=num_codes)


def perplexity(usage: Tensor) -> float:
    """exp of the entropy of the usage distribution: the number of codes used as if all were used equally.

    Between 1 (the codebook has collapsed onto one code) and K (every code equally often); 0 without elements.
    """
    total = float(usage.sum())
    if total == 0:
        return 0.0
    p = usage[usage > 0].double() / total
    return math.exp(float(-(p * p.log()).sum()))


def code_composition(codes: Tensor, labels: Tensor, num_codes: int, num_classes: int) -> Tensor:
    """Elements of each class under each code, [K, C] int64; elements labelled below 0 are left out."""
    known = labels >= 0
    if known.any() and int(labels.max()) >= num_classes:
        raise DataError(f"labels run up to {int(labels.max())}; expected at most {num_classes - 1}.")
    cells = codes[known] * num_classes + labels[known]
    return torch.bincount(cells, minlength=num_codes * num_classes).view(num_codes, num_classes)


@dataclass(frozen=True)
class CodeReport:
    """Usage and class purity of a codebook.

    Attributes:
        usage: [K] elements under each code.
        used: number of codes with at least one element.
        perplexity: effective number of codes, see `perplexity`.
        composition: [K, C] elements of each class under each code, or None without labels.
        class_purity: [C] for each class, the mean share of its own class in the codes of its elements: the chance
            that a second labelled element drawn from the same code (itself included) has the same class; NaN for a
            class without elements.
        purity: share of labelled elements that belong to the most frequent class of their code.
    """

    usage: Tensor
    used: int
    perplexity: float
    composition: Tensor | None = None
    class_purity: Tensor | None = None
    purity: float | None = None

    def to_dict(self) -> dict[str, float | int | list[float | None] | None]:
        """The figures as plain data for a results file."""
        shares: list[float | None] | None = None
        if self.class_purity is not None:
            shares = [None if math.isnan(value) else value for value in self.class_purity.tolist()]
        return {
            "codes": self.usage.numel(),
            "used": self.used,
            "perplexity": self.perplexity,
            "purity": self.purity,
            "class_purity": shares,
        }


def analyze_codes(codes: Tensor, num_codes: int, labels: Tensor | None = None) -> CodeReport:
    """Usage, perplexity and class purity of code assignments.

    Args:
        codes: [N] int64 code of each element.
        num_codes: size K of the codebook.
        labels: [N] int64 classes, -1 where unknown; without them only usage is reported.

    A purity is only worth something beside the number of codes in use: one code an element is always pure.
    Raises `DataError` for codes outside the codebook or labels of another length.
    """
    usage = code_usage(codes, num_codes)
    report = CodeReport(usage, int((usage > 0).sum()), perplexity(usage))
    if labels is None:
        return report
    if labels.shape != codes.shape:
        raise DataError(f"codes has shape {tuple(codes.shape)} but labels {tuple(labels.shape)}; expected the same.")
    num_classes = int(labels.max()) + 1 if labels.numel() else 0
    composition = code_composition(codes, labels, num_codes, num_classes)
    counts = composition.double()
    share = counts / counts.sum(1, keepdim=True).clamp(min=1)
    return replace(
        report,
        composition=composition,
        class_purity=(counts * share).sum(0) / counts.sum(0),
        purity=float(counts.max(1).values.sum() / counts.sum()) if composition.any() else None,
    )
