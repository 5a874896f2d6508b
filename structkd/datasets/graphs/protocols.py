"""Which nodes train, select and test: the splits of the published protocols, by name and seed."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from structkd.datasets.graphs.build import labelled
from structkd.errors import ConfigError, DataError, nearest


def _no_ids() -> Tensor:
    return torch.empty(0, dtype=torch.long)


def fingerprint(ids: Tensor) -> str:
    """The first 12 hex digits of the SHA-256 over the ids as little-endian int64, in their order."""
    return hashlib.sha256(ids.cpu().numpy().astype("<i8").tobytes()).hexdigest()[:12]


@dataclass(frozen=True)
class Split:
    """Global node ids (int64, in the order they were drawn); no id is in two parts.

    Attributes:
        train: the labelled nodes, V_L.
        val: the nodes that select the model.
        test: test nodes that are observed: all of them when transductive, "test_tran" when inductive.
        ind: test nodes held out of the observed graph, "V_ind"; empty when transductive.
    """

    train: Tensor
    val: Tensor
    test: Tensor
    ind: Tensor = field(default_factory=_no_ids)

    @property
    def inductive(self) -> bool:
        """Whether nodes are held out of the observed graph."""
        return self.ind.numel() > 0

    def fingerprints(self) -> dict[str, str]:
        """The `fingerprint` of each part: what makes two runs comparable."""
        return {part.name: fingerprint(getattr(self, part.name)) for part in fields(self)}

    def check(self, num_nodes: int) -> Split:
        """Verify that no part is empty, ids are within `num_nodes` and parts are disjoint. Returns itself."""
        tested = torch.cat([self.test, self.ind])
        for name, ids in (("train", self.train), ("val", self.val), ("test", tested)):
            if ids.numel() == 0:
                raise DataError(f"The split has an empty {name} part; each of train, val and test needs a node.")
        ids = torch.cat([self.train, self.val, tested])
        if int(ids.min()) < 0 or int(ids.max()) >= num_nodes:
            raise DataError(
                f"The split names nodes {int(ids.min())} to {int(ids.max())}; the graph has 0 to {num_nodes - 1}."
            )
        if ids.unique().numel() != ids.numel():
            raise DataError("The split names a node twice; train, val, test and ind must be disjoint.")
        return self

    def hold_out(self, rate: float, seed: int) -> Split:
        """The inductive ("production") version: a share of the test nodes leaves the observed graph.

        The first int(rate * n) of a permutation drawn from torch's generator seeded with `seed` become `ind`
        (GLNN's rule); the global generator is left alone.
        """
        if not 0 < rate <= 1:
            raise ConfigError(f"ind_rate={rate}: expected a share of the test nodes above 0, at most 1.")
        order = torch.randperm(self.test.numel(), generator=torch.Generator().manual_seed(seed))
        cut = int(rate * self.test.numel())
        if cut == 0:
            raise DataError(f"ind_rate={rate} of {self.test.numel()} test nodes holds out no node.")
        return Split(self.train, self.val, self.test[order[cut:]], self.test[order[:cut]])


def make_split(
    name: str, data: Data, seed: int = 0, inductive: bool = False, ind_rate: float = 0.2, **options: Any
) -> Split:
    """The split of a graph under a named protocol.

    Args:
        name: one of
            "cpf": `train_per_class=20`, `val_per_class=30`, the rest tests (CPF, GLNN, NOSMOG, VQGraph, TINED);
            "public", "ogb", "given": the graph's own train, val and test masks;
            "random": shares `train=0.6`, `val=0.2`, the rest tests;
            "planetoid_random": `train_per_class=20`, then `num_val=500` and `num_test=1000` random nodes (None = the
            rest), as FF-G2M splits graphs without public masks.
        data: a graph with `y` (-1 = unknown, never drawn), and the masks where the protocol takes them. Anything
            else with a `y` (a set of graphs) can be split by the protocols that draw.
        seed: of the draw; splits of one seed are the same on every machine.
        inductive: hold out `ind_rate` of the test nodes, see `Split.hold_out`.
        options: the protocol's own, named above.

    Raises:
        ConfigError: unknown protocol or option. DataError: too few labelled nodes, an empty part, missing masks.

    Differences: in the authors' code the inductive split reseeds the global generators; here no global state is
    touched. FF-G2M's own inductive split (broken in the published code) drops nodes outside its split; here every
    node that is not held out stays observed.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"There is no split protocol '{name}'. {nearest(name, PROTOCOLS)}")
    draw = PROTOCOLS[name]
    known = list(inspect.signature(draw).parameters)[2:]
    for option in options:
        if option not in known:
            raise ConfigError(f"The split protocol '{name}' has no option '{option}'. {nearest(option, known)}")
    split = draw(data, np.random.RandomState(seed), **options)
    if inductive:
        split = split.hold_out(ind_rate, seed)
    return split.check(data.y.size(0))


def _draw_per_class(y: np.ndarray, candidates: np.ndarray, count: int, random: np.random.RandomState) -> np.ndarray:
    """`count` of the candidates for each class in ascending order: CPF's draw, on which the fingerprints hang."""
    if y.ndim != 1:
        raise DataError("Splits with a number of labels a class need one class a node; y has several columns.")
    drawn = []
    for label in np.unique(y[y >= 0]):
        pool = candidates[y[candidates] == label]
        if len(pool) < count:
            raise DataError(
                f"Class {label} has {len(pool)} nodes left to draw from, but {count} a class are asked for."
            )
        drawn.append(random.choice(pool, count, replace=False))
    return np.concatenate(drawn)


def _labelled_ids(data: Data) -> tuple[np.ndarray, np.ndarray]:
    return data.y.numpy(), np.flatnonzero(labelled(data.y).numpy())


def _split(*parts: np.ndarray) -> Split:
    return Split(*(torch.from_numpy(part.astype(np.int64)) for part in parts))


def _cpf(data: Data, random: np.random.RandomState, train_per_class: int = 20, val_per_class: int = 30) -> Split:
    y, ids = _labelled_ids(data)
    train = _draw_per_class(y, ids, train_per_class, random)
    ids = np.setdiff1d(ids, train)
    val = _draw_per_class(y, ids, val_per_class, random)
    return _split(train, val, np.setdiff1d(ids, val))


def _given(data: Data, random: np.random.RandomState) -> Split:
    masks = [data.get(f"{part}_mask") for part in ("train", "val", "test")]
    if any(mask is None for mask in masks):
        raise DataError(
            "This split takes the graph's own train_mask, val_mask and test_mask, which it does not carry. "
            "Draw one instead: 'cpf', 'random' or 'planetoid_random'."
        )
    known = labelled(data.y)
    return Split(*((mask & known).nonzero().view(-1) for mask in masks))


def _random(data: Data, random: np.random.RandomState, train: float = 0.6, val: float = 0.2) -> Split:
    if not (train > 0 and val > 0 and train + val < 1):
        raise ConfigError(
            f"random split with train={train}, val={val}: expected shares above 0 that sum to less than 1."
        )
    ids = random.permutation(_labelled_ids(data)[1])
    first, second = int(train * len(ids)), int((train + val) * len(ids))
    return _split(ids[:first], ids[first:second], ids[second:])


def _planetoid_random(
    data: Data,
    random: np.random.RandomState,
    train_per_class: int = 20,
    num_val: int = 500,
    num_test: int | None = 1000,
) -> Split:
    y, ids = _labelled_ids(data)
    train = _draw_per_class(y, ids, train_per_class, random)
    rest = random.permutation(np.setdiff1d(ids, train))
    last = len(rest) if num_test is None else num_val + num_test
    if last > len(rest) or num_val >= last:
        raise DataError(
            f"{len(rest)} labelled nodes are left after the training nodes, too few for num_val={num_val} "
            f"and num_test={num_test}."
        )
    return _split(train, rest[:num_val], rest[num_val:last])


PROTOCOLS: dict[str, Callable[..., Split]] = {
    "cpf": _cpf,
    "public": _given,
    "ogb": _given,
    "given": _given,
    "random": _random,
    "planetoid_random": _planetoid_random,
}
