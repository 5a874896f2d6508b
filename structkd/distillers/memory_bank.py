"""Embeddings of all training samples, for losses that contrast a batch with what is not in it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from structkd.distillers.checks import positive
from structkd.distillers.draws import pass_generator
from structkd.distillers.gathering import gathered
from structkd.distillers.sample_ids import sample_ids
from structkd.errors import ConfigError, DataError
from structkd.structure import Structure


class MemoryBank(nn.Module):
    """What either side last made of each training sample: vectors of length 1 that follow it with a momentum.

    Its buffers are part of a checkpoint. Where several processes train, each update brings the samples of all of them
    to every bank, so that the banks are and stay those of a single process.

    Args:
        reader: name of the distiller, for errors.
        num_data: N; ids of samples (`n_id`, or `image_id` beside elements) run from 0 to N - 1. There may be more of
            them than are trained on.
        channels: length of an embedding.
        negatives: K, samples drawn for a batch, uniformly and with replacement among those that an update has named
            (before the first: among all).
        momentum: share of the old vector that an update keeps, below 1.
        seed: of the first vectors and of the draws.

    Buffers: `student`, `teacher` [N, channels], random at first; `seen` [N] bool, what an update has named; `label` [N]
    int64, the class of each sample, -1 while unknown; `step`, draws so far.

    Differences: the authors' code draws among all of the training set, so among random vectors too until the first
    epoch has ended. Here ids may belong to images that are never trained on (held out, or other views), whose vectors
    would stay random for ever.
    """

    student: Tensor
    teacher: Tensor
    seen: Tensor
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
        self.register_buffer("seen", torch.zeros(num_data, dtype=torch.bool))
        self.register_buffer("label", torch.full((num_data,), -1))
        self.register_buffer("step", torch.tensor(0))

    def ids(self, student: Structure, samples: int) -> Tensor:
        """The ids of a batch [samples]; `DataError` where they are no rows of the bank."""
        size, n_id = self.label.numel(), sample_ids(student)
        if n_id is None or n_id.shape != (samples,):
            shape = None if n_id is None else tuple(n_id.shape)
            raise DataError(f"{self.reader}: n_id has shape {shape}; expected [{samples}], one a sample.")
        if n_id.numel() and not 0 <= int(n_id.min()) <= int(n_id.max()) < size:
            raise DataError(
                f"{self.reader}: n_id runs from {int(n_id.min())} to {int(n_id.max())}, but the memory is for "
                f"num_data={size} samples (0 to {size - 1}); give num_data the number of ids."
            )
        return n_id

    def draw(self, n_id: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Negatives for a batch: rows [K], the same for all its samples, and counts [B, K] bool, whose they are.

        A sample is no negative of its own, nor is (where `y` [B] gives classes) one of its class that an `update` has
        named. A training pass is counted.
        """
        generator = pass_generator(self.seed, self.step, self.training)
        known = self.seen.nonzero().flatten()
        count = known.numel() or self.label.numel()
        rows = torch.randint(count, (self.negatives,), generator=generator).to(n_id.device)
        rows = known[rows] if known.numel() else rows
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
        self.seen[n_id] = True
        if y is not None:
            self.label[n_id] = y
