"""Embeddings of all training samples, for losses that contrast a batch with what is not in it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from structkd.distillers.checks import positive
from structkd.distillers.draws import pass_generator
from structkd.distillers.gathering import gathered
from structkd.errors import ConfigError, DataError


class MemoryBank(nn.Module):
    """What either side last made of each training sample: vectors of length 1 that follow it with a momentum.

    Its buffers are part of a checkpoint. Where several processes train, each update brings the samples of all of them
    to every bank, so that the banks are and stay those of a single process.

    Args:
        reader: name of the distiller, for errors.
        num_data: N, samples of the training set; their ids (`n_id`) run from 0 to N - 1.
        channels: length of an embedding.
        negatives: K, samples drawn for a batch, uniformly and with replacement.
        momentum: share of the old vector that an update keeps, below 1.
        seed: of the first vectors and of the draws.

    Buffers: `student`, `teacher` [N, channels], random at first; `label` [N] int64, the class of each sample, -1 while
    unknown; `step`, draws so far.
    """

    student: Tensor
    teacher: Tensor
    label: Tensor
    step: Tensor

    def __init__(
        self, reader: str, num_data: int, channels: int, negatives: int, momentum: float, seed: int = 0
    ) -> None:
        super().__init__()
        positive(reader, num_data=num_data, channels=channels, negatives=negatives)
        if not 0 <= momentum < 1:
            raise ConfigError(f"{reader}(momentum={momentum}): expected at least 0 and below 1.")
        self.reader, self.negatives, self.momentum, self.seed = reader, negatives, momentum, seed
        generator = torch.Generator().manual_seed(seed)
        for name in ("student", "teacher"):
            vectors = torch.rand(num_data, channels, generator=generator) - 0.5
            self.register_buffer(name, F.normalize(vectors, dim=1))
        self.register_buffer("label", torch.full((num_data,), -1))
        self.register_buffer("step", torch.tensor(0))

    def check(self, n_id: Tensor, samples: int) -> Tensor:
        """The ids of a batch [samples]; `DataError` where they are no rows of the bank."""
        size = self.label.numel()
        if n_id.shape != (samples,):
            raise DataError(f"{self.reader}: n_id has shape {tuple(n_id.shape)}; expected [{samples}], one a sample.")
        if n_id.numel() and not 0 <= int(n_id.min()) <= int(n_id.max()) < size:
            raise DataError(
                f"{self.reader}: n_id runs from {int(n_id.min())} to {int(n_id.max())}, but the memory is for "
                f"num_data={size} samples (0 to {size - 1}); give num_data the size of the training set."
            )
        return n_id

    def draw(self, n_id: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Negatives for a batch: rows [K], the same for all its samples, and counts [B, K] bool, whose they are.

        A sample is no negative of its own, nor is (where `y` [B] gives classes) one of its class that an `update` has
        named. A training pass is counted.
        """
        generator = pass_generator(self.seed, self.step, self.training)
        rows = torch.randint(self.label.numel(), (self.negatives,), generator=generator).to(n_id.device)
        counts = rows != n_id[:, None]
        if y is not None:
            counts = counts & ((self.label[rows] != y[:, None]) | (y < 0)[:, None])
        return rows, counts

    @torch.no_grad()
    def update(self, n_id: Tensor, student: Tensor, teacher: Tensor, y: Tensor | None = None) -> None:
        """Let the vectors of a batch follow its embeddings [B, channels], and note its classes [B].

        Every process must take part, with whatever samples it has.
        """
        n_id, student, teacher = gathered(n_id), gathered(student), gathered(teacher)
        y = None if y is None else gathered(y)
        for bank, new in ((self.student, student), (self.teacher, teacher)):
            bank[n_id] = F.normalize(torch.lerp(new.to(bank), bank[n_id], self.momentum), dim=1)
        if y is not None:
            self.label[n_id] = y
