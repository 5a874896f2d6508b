"""The batches of an epoch, a function of (seed, epoch) whatever was run before, and the loaders that give them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from structkd.errors import ConfigError


def seeded(*key: int) -> torch.Generator:
    """A generator of its own for each key; neighbouring keys give unrelated streams."""
    # The length goes in because SeedSequence pads with zeros: (1,) and (1, 0) would be one key.
    state = int(np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator().manual_seed(state)


@dataclass(frozen=True)
class Part:
    """What one process takes of one global batch.

    Attributes:
        picks: for each pool, this process's positions in it.
        sizes: for each pool, the size of the global batch.
        share: this process's part of the first pool's batch, times the number of processes; 1 when parts are equal.
        key: (seed, epoch, batch, rank), for whatever else the batch draws.
        whole: for each pool, the positions of the global batch, of which `picks` are a stretch; for draws that all
            processes must make alike.
        world_size: number of processes.
    """

    picks: tuple[Tensor, ...]
    sizes: tuple[int, ...]
    share: float
    key: tuple[int, int, int, int]
    whole: tuple[Tensor, ...] = ()
    world_size: int = 1

    def stretch(self, size: int) -> slice:
        """Which of `size` elements of a global batch are this process's."""
        number, more = divmod(size, self.world_size)
        rank = self.key[3]
        start = rank * number + min(rank, more)
        return slice(start, start + number + (rank < more))


class EpochPlan(Sampler[Part]):
    """Splits one or more pools of elements into the same number of shuffled batches, anew in each epoch.

    Every epoch is a pass over all elements. Batches of a pool differ by one element at most: a small last batch
    would weigh its few elements more than all others, and batch normalisation fails on a single row. A
    global batch is then cut into `world_size` contiguous parts, again equal up to one element.

    Args:
        pools: number of elements in each pool.
        num_batches: batches an epoch.
        seed, rank, world_size: see the loaders.
        keep: elements of the first pool that an epoch uses; the rest of the permutation is dropped.
    """

    def __init__(
        self,
        pools: Sequence[int],
        num_batches: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        keep: int | None = None,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank={rank} of world_size={world_size}: expected a rank from 0 to {world_size - 1}.")
        self.pools, self.num_batches = tuple(pools), num_batches
        self.keeps = (pools[0] if keep is None else keep, *pools[1:])
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = 0
        smallest = min(self.keeps) // num_batches
        if smallest < world_size:
            raise ConfigError(
                f"A batch would hold {smallest} of {min(self.keeps)} elements, fewer than the {world_size} processes "
                "it is shared by; choose a larger batch_size."
            )

    def set_epoch(self, epoch: int) -> None:
        """The epoch (0-based) that the next iteration draws; without it each iteration takes the next epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Part]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        generator = seeded(self.seed, epoch)
        batches = [
            torch.randperm(size, generator=generator)[:keep].tensor_split(self.num_batches)
            for size, keep in zip(self.pools, self.keeps, strict=True)
        ]
        for number, whole in enumerate(zip(*batches, strict=True)):
            picks = tuple(batch.tensor_split(self.world_size)[self.rank] for batch in whole)
            share = picks[0].numel() * self.world_size / whole[0].numel()
            sizes, key = tuple(batch.numel() for batch in whole), (self.seed, epoch, number, self.rank)
            yield Part(picks, sizes, share, key, whole, self.world_size)


class InOrder(EpochPlan):
    """Every epoch in the order of the dataset: for evaluation."""

    def __iter__(self) -> Iterator[Part]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        for number, whole in enumerate(torch.arange(self.pools[0]).tensor_split(self.num_batches)):
            picks = whole.tensor_split(self.world_size)[self.rank]
            share = picks.numel() * self.world_size / whole.numel()
            key = (self.seed, epoch, number, self.rank)
            yield Part((picks,), (whole.numel(),), share, key, (whole,), self.world_size)


def _itself(batch: Any) -> Any:
    return batch


class Batches(Dataset):
    """Makes a batch from what an `EpochPlan` says; the `dataset` of the loaders below."""

    def __getitem__(self, part: Part) -> Any:
        raise NotImplementedError


class PlannedLoader(DataLoader):
    """A DataLoader whose batches depend on (seed, epoch) alone, so that a resumed run meets the same ones.

    It draws nothing from the global generator. `set_epoch` fixes the epoch of the next iteration; without it each
    iteration takes the next epoch.
    """

    def __init__(self, batches: Batches, plan: EpochPlan, **loader: Any) -> None:
        self.plan = plan
        super().__init__(
            batches, sampler=plan, batch_size=None, collate_fn=_itself, generator=torch.Generator(), **loader
        )

    def set_epoch(self, epoch: int) -> None:
        """The epoch (0-based) that the next iteration draws."""
        self.plan.set_epoch(epoch)
