"""Link prediction: which edges train, select and test, and the non-edges they are told apart from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from structkd.datasets.epochs import Batches, EpochPlan, Part, PlannedLoader, seeded
from structkd.datasets.graphs.build import both_directions
from structkd.errors import ConfigError, DataError
from structkd.ops.csr import csr_of
from structkd.ops.sparse_features import take_rows


@dataclass(frozen=True)
class LinkData:
    """A graph whose edges are split. Pairs are [2, P] with u < v, each edge once.

    Attributes:
        graph: what is visible when predictions are made: all nodes, no edge of `val` or `test`. `Data` with `x`,
            `edge_index` (both directions) and `n_id`.
        observed: what training may see; the same as `graph` when transductive, without the new nodes in the
            production setting. Its `n_id` are ids of `graph`.
        train: positive pairs to train on, rows of `observed`; they are its edges.
        val, val_negatives: pairs to select by, rows of `observed`.
        test: name -> positive pairs, rows of `graph`: "all", and in the production setting also "old_old",
            "old_new" and "new_new".
        test_negatives: non-edges for every test group, rows of `graph`.
    """

    graph: Data
    observed: Data
    train: Tensor
    val: Tensor
    val_negatives: Tensor
    test: Mapping[str, Tensor]
    test_negatives: Tensor


def sample_negatives(
    edge_index: Tensor, num_nodes: int, count: int, generator: torch.Generator | None = None
) -> Tensor:
    """`count` distinct node pairs u < v without an edge between them, uniform over all such pairs.

    Args:
        edge_index: [2, E] edges in any direction; loops and duplicates do not matter.
        num_nodes: N.
        count: number of pairs.
        generator: source of randomness; default torch's global one.

    Raises:
        DataError: there are fewer than `count` such pairs.
    """
    low, high = edge_index.min(0).values, edge_index.max(0).values
    taken = (low * num_nodes + high)[low != high].unique()
    free = num_nodes * (num_nodes - 1) // 2 - taken.numel()
    if count > free:
        raise DataError(
            f"{count} negative pairs are asked for, but only {free} pairs of {num_nodes} nodes have no edge."
        )
    if 2 * count > free:  # drawing until they are found would take long: list them instead
        low, high = torch.triu_indices(num_nodes, num_nodes, offset=1)
        keys = low * num_nodes + high
        keys = keys[~torch.isin(keys, taken)]
    else:
        keys = taken.new_empty(0)
        while keys.numel() < count:
            pairs = torch.randint(num_nodes, (2, 2 * (count - keys.numel()) + 16), generator=generator)
            low, high = pairs.min(0).values, pairs.max(0).values
            drawn = (low * num_nodes + high)[low != high]
            keys = torch.cat([keys, drawn[~torch.isin(drawn, taken)]]).unique()
    keys = keys[torch.randperm(keys.numel(), generator=generator)[:count]]
    return torch.stack([torch.div(keys, max(num_nodes, 1), rounding_mode="floor"), keys % max(num_nodes, 1)])


def split_links(
    graph: Data, val: float = 0.05, test: float = 0.10, new_nodes: float = 0.0, extra: float = 0.1, seed: int = 234
) -> LinkData:
    """Split the edges of an undirected graph for link prediction, as LLP does (Guo et al., ICML 2023).

    Transductive (`new_nodes=0`): all nodes are known, `val` and `test` of the edges are held out. Production
    (`new_nodes > 0`): a share of the nodes arrives after training; edges between old nodes are split in train, val,
    test and `extra` (they exist only when predictions are made); of the edges at a new node, the share `test` is to
    be predicted and the rest is visible then.

    Args:
        graph: `Data` with `x` and undirected `edge_index`.
        val, test: shares of the edges. LLP's production setting takes test=0.1 and new_nodes=0.1 (Cora and CiteSeer
            0.3 each).
        new_nodes: share of the nodes that are new; 0 is transductive.
        extra: share of the old-old edges that appear only after training; production only.
        seed: of the draw; the splits of one seed are the same on every machine.

    Returns:
        `LinkData`, with as many negatives as positives for val and for all test pairs together.

    Raises:
        ConfigError: shares that leave no training edges. DataError: a part is empty.

    Differences: LLP draws with the global generators, and its fast split may hold a negative pair in both directions;
    here pairs are distinct. In its production setting `val` is a share of the training edges, and those pairs are
    visible when test pairs are predicted; here it is a share of the old-old edges, which stay hidden.
    """
    production = new_nodes > 0
    extra = extra if production else 0.0
    if not (val > 0 and test > 0 and 0 <= new_nodes < 1 and extra >= 0 and val + test + extra < 1):
        raise ConfigError(
            f"split_links(val={val}, test={test}, new_nodes={new_nodes}, extra={extra}): expected val and test "
            "above 0, new_nodes in [0, 1), and shares that leave edges to train on."
        )
    generator = seeded(seed)
    nodes = graph.x.size(0)
    pairs = graph.edge_index[:, graph.edge_index[0] < graph.edge_index[1]].unique(dim=1)
    new = torch.zeros(nodes, dtype=torch.bool)
    new[torch.randperm(nodes, generator=generator)[: int(new_nodes * nodes)]] = True
    ends = new[pairs].sum(0)

    old_val, old_test, late, train = _cut(pairs[:, ends == 0], (val, test, extra), generator)
    tests, visible = {"old_old": old_test}, [train, late]
    for name, count in (("old_new", 1), ("new_new", 2)):
        tests[name], rest = _cut(pairs[:, ends == count], (test,), generator)
        visible.append(rest)
    tests = {"all": torch.cat(list(tests.values()), 1), **(tests if production else {})}
    for name, part in (("train", train), ("val", old_val), ("test", tests["all"])):
        if part.size(1) == 0:
            raise DataError(f"The link split has no {name} edges; the graph has {pairs.size(1)} edges in all.")

    whole = Data(x=graph.x, edge_index=both_directions(*torch.cat(visible, 1)), n_id=torch.arange(nodes))
    old = (~new).nonzero().view(-1)
    row = torch.full((nodes,), -1)
    row[old] = torch.arange(old.numel())
    observed = (
        Data(x=take_rows(graph.x, old), edge_index=both_directions(*row[train]), n_id=old) if production else whole
    )
    known = row[pairs[:, ends == 0]]
    return LinkData(
        graph=whole,
        observed=observed,
        train=row[train],
        val=row[old_val],
        val_negatives=sample_negatives(known, old.numel(), old_val.size(1), generator),
        test=tests,
        test_negatives=sample_negatives(pairs, nodes, tests["all"].size(1), generator),
    )


def _cut(pairs: Tensor, shares: tuple[float, ...], generator: torch.Generator) -> list[Tensor]:
    """A random share of the pairs for each of `shares`, then the rest."""
    pairs = pairs[:, torch.randperm(pairs.size(1), generator=generator)]
    sizes = [int(share * pairs.size(1)) for share in shares]
    return list(pairs.split([*sizes, pairs.size(1) - sum(sizes)], dim=1))


#: (links that may be seen, anchor nodes [A], generator) -> pairs [2, P] and the anchor of each [P], in 0 to A - 1.
Context = Callable[..., tuple[Tensor, Tensor]]


class _Links(Batches):
    def __init__(self, link_data: LinkData, context: Context | None) -> None:
        self.observed, self.train, self.context = link_data.observed, link_data.train, context
        self.num_nodes = self.observed.x.size(0)

    def __getitem__(self, part: Part) -> Data:
        # Every process draws for the whole batch and keeps its part, so that together they do what one would.
        edge_index, generator = self.observed.edge_index, seeded(*part.key[:3], 0)
        positive = self.train[:, part.picks[0]]
        # Only what is observed is avoided: to avoid held-out edges too would tell the student about them.
        negative = sample_negatives(edge_index, self.num_nodes, part.sizes[0], generator)
        negative = negative[:, part.stretch(part.sizes[0])]
        count = positive.size(1)
        batch = Data(x=self.observed.x, edge_index=edge_index, num_nodes=self.num_nodes)
        batch.pairs = torch.cat([positive, negative], 1)
        batch.y = torch.cat([torch.ones(count), torch.zeros(count)])
        batch.label_scale, batch.share = 0.5 / count, part.share
        if self.context is not None:
            pairs, anchor = self.context(csr_of(edge_index, self.num_nodes), part.whole[1], generator=generator)
            own = part.stretch(part.sizes[1])
            kept = (anchor >= own.start) & (anchor < own.stop)
            pairs, anchor = pairs[:, kept], anchor[kept] - own.start
            # The parts of the anchors may be less equal, or more, than those of the pairs.
            batch.share = (own.stop - own.start) * part.world_size / part.sizes[1]
            batch.label_scale *= part.share / batch.share
            batch.pairs = torch.cat([batch.pairs, pairs], 1)
            batch.mask = torch.arange(batch.pairs.size(1)) >= 2 * count
            batch.batch = torch.cat([anchor.new_full((2 * count,), -1), anchor])
            batch.y = torch.cat([batch.y, torch.full((anchor.numel(),), -1.0)])
        return batch


class LinkBatches(PlannedLoader):
    """Mini-batches of training pairs over the whole observed graph.

    Args:
        link_data: the split graph.
        batch_size: positive pairs in a global batch at most; as many negatives are drawn anew for each batch.
        context: draws candidate pairs around anchor nodes, such as LLP's `sample_context`; called as
            `context(csr, anchors, generator=...)`. An epoch passes once over all observed nodes as anchors.
        rank, world_size, seed, loader: as in `NodeBatches`.

    Yields:
        `Data` with `x` and `edge_index` of the observed graph, `pairs` [2, P] (its rows: positives, negatives, then
        the context), `y` [P] (1.0, 0.0, and -1.0 for the context), `label_scale` (1 / pairs that have a label) and
        `share`; with a context also `mask` [P] (True = context) and `batch` [P] (its anchor, else -1). Processes
        together compute exactly what one computes.
    """

    def __init__(
        self,
        link_data: LinkData,
        batch_size: int,
        context: Context | None = None,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        **loader: Any,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"LinkBatches(batch_size={batch_size}): expected at least 1.")
        pairs = link_data.train.size(1)
        pools = [pairs] if context is None else [pairs, link_data.observed.x.size(0)]
        plan = EpochPlan(pools, -(-pairs // batch_size), seed, rank, world_size)
        super().__init__(_Links(link_data, context), plan, **loader)
